package rng_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/mvm-project/mvm/devices/rng"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter counts up, so that each byte shows its place in the stream.
type counter byte

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(*c)
		*c++
	}
	return len(p), nil
}

// both runs f with and without event indices.
func both(t *testing.T, f func(t *testing.T, features uint64)) {
	t.Run("event indices", func(t *testing.T) { f(t, virtio.FeatureEventIdx) })
	t.Run("flags", func(t *testing.T) { f(t, 0) })
}

func TestHostIsRandom(t *testing.T) {
	seen := make(map[[8]byte]bool)
	b := make([]byte, 4096)
	if _, err := io.ReadFull(rng.Host{}, b); err != nil {
		t.Fatal(err)
	}
	for c := range slices.Chunk(b, 8) {
		seen[[8]byte(c)] = true
	}
	if len(seen) != len(b)/8 {
		t.Errorf("%d of %d words are alike", len(b)/8-len(seen), len(b)/8)
	}
}

func TestFillsBuffersInOrder(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		d := virtiotest.New(t, rng.New(new(counter), nil))
		d.Start(features)
		a, b := d.Room(3), d.Room(5)
		if n := d.Queue(0).Do(a, b); n != 8 {
			t.Fatalf("%d bytes written, want 8", n)
		}
		got := append(bytes.Clone(d.Bytes(a)), d.Bytes(b)...)
		if want := []byte{0, 1, 2, 3, 4, 5, 6, 7}; !bytes.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestRequestIsBounded(t *testing.T) {
	d := virtiotest.New(t, rng.New(new(counter), nil))
	d.Start(0)
	room := d.Room(1 << 20)
	n := d.Queue(0).Do(room)
	if n != 64<<10 {
		t.Errorf("%d bytes written, want 64 KiB", n)
	}
	if rest := d.Bytes(room)[n:]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("bytes after the ones reported as written are changed")
	}
}

func TestReadableBufferIsLeftAlone(t *testing.T) {
	d := virtiotest.New(t, rng.New(new(counter), nil))
	d.Start(0)
	in, out := d.Put([]byte("abc")), d.Room(2)
	if n := d.Queue(0).Do(in, out); n != 2 {
		t.Errorf("%d bytes written, want 2", n)
	}
	if got := string(d.Bytes(in)); got != "abc" {
		t.Errorf("the readable buffer holds %q", got)
	}
}

func TestSourceFails(t *testing.T) {
	src := io.MultiReader(bytes.NewReader([]byte{1, 2, 3}), failing{})
	d := virtiotest.New(t, rng.New(src, nil))
	d.Start(0)
	if n := d.Queue(0).Do(d.Room(8)); n != 3 {
		t.Errorf("%d bytes written, want the 3 there were", n)
	}
	if n := d.Queue(0).Do(d.Room(8)); n != 0 {
		t.Errorf("%d bytes written by a failing source", n)
	}
}

// TestSourceFailsOnce: what is written is the beginning of the buffers, without a
// gap.
func TestSourceFailsOnce(t *testing.T) {
	d := virtiotest.New(t, rng.New(iotest.TimeoutReader(iotest.OneByteReader(new(counter))), nil))
	d.Start(0)
	a, b := d.Room(4), d.Room(4) // the second byte fails, those after it do not
	if n := d.Queue(0).Do(a, b); n != 1 || !bytes.Equal(d.Bytes(b), make([]byte, 4)) {
		t.Errorf("%d bytes written, then %v", n, d.Bytes(b))
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestRestart(t *testing.T) {
	d := virtiotest.New(t, rng.New(rng.Host{}, nil))
	for range 20 {
		d.Start(virtio.FeatureEventIdx)
		if n := d.Queue(0).Do(d.Room(16)); n != 16 {
			t.Fatalf("%d bytes written, want 16", n)
		}
	}
}

func TestRequestAllocatesNothing(t *testing.T) {
	d := virtiotest.New(t, rng.New(rng.Host{}, nil))
	d.Start(virtio.FeatureEventIdx)
	q, room := d.Queue(0), d.Room(64)
	if n := testing.AllocsPerRun(100, func() { q.Do(room) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}
