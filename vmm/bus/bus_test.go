package bus

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// cell remembers the last access.
type cell struct {
	off uint64
	p   []byte
	n   int
}

func (c *cell) Read(off uint64, p []byte) {
	c.off, c.n = off, c.n+1
	for i := range p {
		p[i] = byte(off) + byte(i)
	}
}

func (c *cell) Write(off uint64, p []byte) { c.off, c.p, c.n = off, bytes.Clone(p), c.n+1 }

func TestAddRefusesOverlap(t *testing.T) {
	var b Bus
	if err := b.Add(0x100, 0x10, &cell{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		addr, n uint64
		ok      bool
	}{
		{0x100, 0x10, false},
		{0x0ff, 2, false},
		{0x10f, 1, false},
		{0x000, 0x1000, false},
		{0x108, 1, false},
		{0x200, 0, false},
		{math.MaxUint64, 2, false},
		{0x0f0, 0x10, true},
		{0x110, 0x10, true},
		{math.MaxUint64, 1, true},
	} {
		if err := b.Add(r.addr, r.n, &cell{}); (err == nil) != r.ok {
			t.Errorf("Add(%#x, %#x): %v, want ok %v", r.addr, r.n, err, r.ok)
		}
	}
}

func TestReadWrite(t *testing.T) {
	var b Bus
	var c cell
	if err := b.Add(0x1000, 8, &c); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 2)
	b.Read(0x1004, p)
	if c.off != 4 || !bytes.Equal(p, []byte{4, 5}) {
		t.Errorf("read at %d gave %v", c.off, p)
	}
	b.Write(0x1006, []byte{1, 2})
	if c.off != 6 || !bytes.Equal(c.p, []byte{1, 2}) {
		t.Errorf("write at %d of %v", c.off, c.p)
	}
	c.n = 0
	for _, addr := range []uint64{0, 0xfff, 0x1007, 0x1008, math.MaxUint64} {
		b.Read(addr, p)
		if !bytes.Equal(p, []byte{0xff, 0xff}) {
			t.Errorf("read of nothing at %#x gave %v", addr, p)
		}
		b.Write(addr, p)
	}
	if c.n != 0 {
		t.Errorf("%d accesses reached a device that they only touch or miss", c.n)
	}
}

// TestFind compares with a search of all ranges.
func TestFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Bus
		owner := map[uint64]*cell{}
		for range rapid.IntRange(0, 20).Draw(t, "ranges") {
			addr, n := rapid.Uint64Range(0, 200).Draw(t, "addr"), rapid.Uint64Range(1, 20).Draw(t, "n")
			c := &cell{}
			if b.Add(addr, n, c) != nil {
				continue
			}
			for a := addr; a < addr+n; a++ {
				owner[a] = c
			}
		}
		for a := range uint64(230) {
			h, _ := b.find(a, 1)
			if c := owner[a]; c == nil && h != nil || c != nil && h != Handler(c) {
				t.Fatalf("address %d: %v, want %v", a, h, c)
			}
		}
	})
}

func TestReadDoesNotAllocate(t *testing.T) {
	var b Bus
	if err := b.Add(0, 8, &cell{}); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() { b.Read(0, p); b.Read(9, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
