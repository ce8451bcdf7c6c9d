package memory

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func newRAM(t *testing.T, size int64) *RAM {
	t.Helper()
	r, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestSlice(t *testing.T) {
	const size = HoleStart + 1<<20
	r := newRAM(t, size)
	for _, c := range []struct {
		name string
		gpa  uint64
		n    int
		ok   bool
	}{
		{"first page", 0, 4096, true},
		{"nothing", 0, 0, true},
		{"end of the low part", HoleStart - 8, 8, true},
		{"nothing at the end of the low part", HoleStart, 0, true},
		{"into the hole", HoleStart - 8, 9, false},
		{"in the hole", HoleStart, 1, false},
		{"end of the hole", HoleEnd - 1, 1, false},
		{"start of the high part", HoleEnd, 4096, true},
		{"all of the high part", HoleEnd, 1 << 20, true},
		{"past the high part", HoleEnd, 1<<20 + 1, false},
		{"behind the high part", HoleEnd + 1<<20, 1, false},
		{"address that wraps", math.MaxUint64, 2, false},
		{"length that wraps", HoleEnd + 4096, math.MaxInt, false},
		{"negative length", 0, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := r.Slice(c.gpa, c.n)
			if (err == nil) != c.ok {
				t.Fatalf("Slice(%#x, %d): %v, want ok %v", c.gpa, c.n, err, c.ok)
			}
			if c.ok && (len(b) != c.n || cap(b) != c.n) {
				t.Errorf("len %d cap %d, want %d", len(b), cap(b), c.n)
			}
		})
	}
}

// TestMap: a file's pages are the guest's, and what is written there is not the
// file's nor another guest's.
func TestMap(t *testing.T) {
	const page = 4096
	path := filepath.Join(t.TempDir(), "kernel")
	want := bytes.Repeat([]byte("0123456789abcdef"), 3*page/16)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	a, b := newRAM(t, 1<<20), newRAM(t, 1<<20)
	for _, r := range []*RAM{a, b} {
		if err := r.Map(8*page, f, page, 2*page); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []struct{ gpa, off, size int64 }{
			{1<<20 - page, 0, 2 * page}, {HoleStart, 0, page}, {8, 0, page}, {0, 8, page},
		} {
			if err := r.Map(uint64(bad.gpa), f, bad.off, int(bad.size)); err == nil {
				t.Errorf("mapped %+v", bad)
			}
		}
	}
	_ = f.Close()
	for gpa, text := range map[uint64][]byte{7 * page: make([]byte, page), 8 * page: want[page:], 10 * page: make([]byte, page)} {
		if got, err := a.Slice(gpa, len(text)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("at %#x: %v, or other bytes", gpa, err)
		}
	}
	mine, err := a.Slice(9*page, 4)
	if err != nil {
		t.Fatal(err)
	}
	copy(mine, "mine")
	if others, err := b.Slice(9*page, 4); err != nil || string(others) != "0123" {
		t.Errorf("another guest's: %q, %v", others, err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, want) {
		t.Errorf("the file has changed, %v", err)
	}
}

// TestRegionsAndSliceAgree writes through a region and reads through Slice.
func TestRegionsAndSliceAgree(t *testing.T) {
	r := newRAM(t, HoleStart+1<<20)
	regions := r.Regions()
	if len(regions) != 2 || regions[0].GPA != 0 || regions[1].GPA != HoleEnd {
		t.Fatalf("regions %v", regions)
	}
	if got := uint64(len(regions[0].Data) + len(regions[1].Data)); got != r.Size() {
		t.Errorf("regions hold %d bytes of %d", got, r.Size())
	}
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SampledFrom(regions).Draw(t, "region")
		off := rapid.IntRange(0, len(g.Data)-1).Draw(t, "offset")
		want := rapid.Byte().Draw(t, "value")
		g.Data[off] = want
		b, err := r.Slice(g.GPA+uint64(off), 1)
		if err != nil || b[0] != want {
			t.Fatalf("Slice(%#x) = %v, %v; want %d", g.GPA+uint64(off), b, err, want)
		}
	})
}

func TestSliceDoesNotAllocate(t *testing.T) {
	r := newRAM(t, 1<<20)
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Slice(4096, 512) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAlignment(t *testing.T) {
	r := newRAM(t, 1<<20)
	if a := base(r.low); a%hugePage != 0 {
		t.Errorf("RAM begins at %#x, not a multiple of %#x", a, hugePage)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, size := range []int64{0, -4096, 4095, 1 << 50, math.MaxInt64 &^ 4095} {
		if r, err := New(size); err == nil {
			t.Errorf("New(%d) gave %d bytes", size, r.Size())
		}
	}
}
