// Package bus routes an access at an address to the device that answers there.
// One Bus serves port I/O, another memory-mapped I/O.
package bus

import (
	"fmt"
	"slices"
)

// Handler is a device's registers. off counts from the start of its range; p is
// 1, 2, 4 or 8 bytes and lies within the range. A guest makes any access it
// likes, from several vCPUs at once.
type Handler interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

// entry is a handler and its addresses, first to last.
type entry struct {
	first, last uint64
	h           Handler
}

// Bus is an address space. The zero Bus is empty. Add everything before the
// first access.
type Bus struct {
	entries []entry // by rising address, without overlap
}

// Add puts h at the n addresses from addr on.
func (b *Bus) Add(addr, n uint64, h Handler) error {
	e := entry{first: addr, last: addr + n - 1, h: h}
	if n == 0 || e.last < addr {
		return fmt.Errorf("bus: %d addresses from %#x on are no range", n, addr)
	}
	i, _ := b.search(addr)
	if i > 0 && b.entries[i-1].last >= e.first || i < len(b.entries) && b.entries[i].first <= e.last {
		return fmt.Errorf("bus: the range %#x-%#x is taken", e.first, e.last)
	}
	b.entries = slices.Insert(b.entries, i, e)
	return nil
}

// search is the index of the first entry that begins at addr or behind it.
func (b *Bus) search(addr uint64) (int, bool) {
	return slices.BinarySearchFunc(b.entries, addr, func(e entry, a uint64) int {
		switch {
		case e.first < a:
			return -1
		case e.first > a:
			return 1
		}
		return 0
	})
}

// find is the handler of all n addresses from addr on, and their offset in it.
func (b *Bus) find(addr uint64, n int) (Handler, uint64) {
	i, exact := b.search(addr)
	if !exact {
		i--
	}
	if i < 0 {
		return nil, 0
	}
	e := b.entries[i]
	if addr > e.last || uint64(n)-1 > e.last-addr {
		return nil, 0
	}
	return e.h, addr - e.first
}

// Read fills p from addr on; where nothing answers, with ones, as a PC's bus
// does.
func (b *Bus) Read(addr uint64, p []byte) {
	if len(p) == 0 {
		return
	}
	if h, off := b.find(addr, len(p)); h != nil {
		h.Read(off, p)
		return
	}
	for i := range p {
		p[i] = 0xff
	}
}

// Write gives p to whatever answers at addr; where nothing does, it is lost.
func (b *Bus) Write(addr uint64, p []byte) {
	if len(p) == 0 {
		return
	}
	if h, off := b.find(addr, len(p)); h != nil {
		h.Write(off, p)
	}
}
