package virtio_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/devices/virtio"
)

// pieces draws buffers without empty pieces, and what they hold.
func pieces(rt *rapid.T) (virtio.Buffers, []byte) {
	p := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20), 0, 10).Draw(rt, "pieces")
	return virtio.Buffers(p), bytes.Join(p, nil)
}

func TestBuffersRead(t *testing.T) {
	b := virtio.Buffers{[]byte("ab"), []byte("c"), []byte("defg")}
	if err := iotest.TestReader(&b, []byte("abcdefg")); err != nil {
		t.Error(err)
	}
}

func TestBuffersWrite(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b, old := pieces(rt)
		all := append(virtio.Buffers(nil), b...)
		p := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(rt, "p")
		n, err := b.Write(p)
		if want := min(len(p), len(old)); n != want || (n < len(p)) != errors.Is(err, io.ErrShortWrite) {
			rt.Fatalf("%d bytes, %v; want %d", n, err, want)
		}
		if got, want := bytes.Join(all, nil), append(bytes.Clone(p[:n]), old[n:]...); !bytes.Equal(got, want) {
			rt.Fatalf("holds %x, want %x", got, want)
		}
		if got := bytes.Join(b, nil); !bytes.Equal(got, old[n:]) {
			rt.Fatalf("the rest is %x, want %x", got, old[n:])
		}
	})
}

func TestBuffersDropAndTruncate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b, want := pieces(rt)
		drop := rapid.IntRange(0, len(want)+3).Draw(rt, "drop")
		b.Drop(drop)
		want = want[min(drop, len(want)):]
		keep := rapid.IntRange(0, len(want)+3).Draw(rt, "keep")
		b.Truncate(keep)
		want = want[:min(keep, len(want))]
		if got := bytes.Join(b, nil); !bytes.Equal(got, want) || b.Len() != len(want) {
			rt.Fatalf("%x of length %d, want %x", got, b.Len(), want)
		}
		for _, p := range b {
			if len(p) == 0 {
				rt.Fatal("an empty piece is left")
			}
		}
	})
}

// TestVector writes pieces to a file and reads them back in other pieces.
func TestVector(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/disk")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var v virtio.Vector
	rapid.Check(t, func(rt *rapid.T) {
		b, want := pieces(rt)
		off := rapid.Int64Range(0, 1<<33).Draw(rt, "offset")
		if err := v.WriteAt(f, &b, off); err != nil || len(b) > 0 {
			rt.Fatalf("%v with %d pieces left", err, len(b))
		}
		got := make([]byte, len(want))
		for at := 0; at < len(got); {
			n := rapid.IntRange(1, len(got)-at).Draw(rt, "piece")
			b = append(b, got[at:at+n])
			at += n
		}
		if err := v.ReadAt(f, &b, off); err != nil || len(b) > 0 {
			rt.Fatalf("%v with %d pieces left", err, len(b))
		}
		if !bytes.Equal(got, want) {
			rt.Fatalf("read %x, want %x", got, want)
		}
	})
}

// TestVectorManyPieces needs more than one call (UIO_MAXIOV is 1024).
func TestVectorManyPieces(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/disk")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := make([]byte, 3000)
	var b virtio.Buffers
	for i := range want {
		want[i] = byte(i % 251)
		b = append(b, want[i:i+1])
	}
	var v virtio.Vector
	if err := v.WriteAt(f, &b, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs (%v)", err)
	}
	got := make([]byte, 5000)
	b = virtio.Buffers{got}
	if err := v.ReadAt(f, &b, 0); !errors.Is(err, io.ErrUnexpectedEOF) || b.Len() != 2000 {
		t.Errorf("past the end: %v with %d bytes left", err, b.Len())
	}
	if !bytes.Equal(got[:3000], want) {
		t.Error("what there is was not read")
	}
}
