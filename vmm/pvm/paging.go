package pvm

import (
	"errors"

	"github.com/mvm-project/mvm/vmm/memory"
)

// Bits of a page table's entry, at every level (Intel SDM 3A, table 4-15 ff.).
const (
	ptePresent  = 1 << 0
	pteWritable = 1 << 1
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteHuge     = 1 << 7 // maps a large page, above the lowest level
	pteAddress  = 0x000f_ffff_ffff_f000

	pageSize = 4096
	levels   = 4 // of page tables, without LA57
)

// Bits of a page fault's error code.
const (
	faultProtection = 1 << 0 // there is a page, but not for this access
	faultWrite      = 1 << 1
)

// space is the linear address space of ring 0 of a guest in 64-bit mode. Nothing
// in it is to be trusted: every address of a page table is checked, and a walk
// is as long as there are levels.
type space struct {
	ram *memory.RAM
	cr3 uint64
	// readOnly says that read-only pages are so for ring 0 too (CR0.WP).
	readOnly bool
}

// errNotRAM means that a page table or a page is where the guest has no RAM.
var errNotRAM = errors.New("not in the guest's RAM")

// errChanged means that another vCPU changed a page table during a walk: it has
// to begin again, where the vCPU can be stopped.
var errChanged = errors.New("a page table changed")

// pageFault is the exception of an access that the page tables do not allow.
type pageFault struct {
	linear uint64
	code   uint32
}

// translate gives the guest-physical address of a linear one for an access by
// ring 0, and marks the page accessed, or written, as the processor does. fault
// is not nil if the guest has to take a page fault. SMAP, SMEP and protection
// keys are not looked at: the flavour's kernel has them off.
func (s space) translate(linear uint64, write bool) (gpa uint64, fault *pageFault, err error) {
	table := s.cr3 & pteAddress
	for level := levels - 1; ; level-- {
		shift := 12 + 9*level
		at := table + linear>>shift&0x1ff*8
		entry, err := s.ram.Load(at)
		if err != nil {
			return 0, nil, errNotRAM
		}
		if fault := s.check(entry, linear, write); fault != nil {
			return 0, fault, nil
		}
		leaf := level == 0 || level < levels-1 && entry&pteHuge != 0
		if err := s.mark(at, entry, leaf && write); err != nil {
			return 0, nil, err
		}
		if leaf {
			offset := uint64(1)<<shift - 1
			return entry&pteAddress&^offset | linear&offset, nil, nil
		}
		table = entry & pteAddress
	}
}

// mark sets an entry's accessed bit, and its dirty bit if its page is written.
func (s space) mark(at, entry uint64, dirty bool) error {
	marked := entry | pteAccessed
	if dirty {
		marked |= pteDirty
	}
	if marked == entry {
		return nil
	}
	ok, err := s.ram.CompareAndSwap(at, entry, marked)
	switch {
	case err != nil:
		return errNotRAM
	case !ok:
		return errChanged
	}
	return nil
}

// check looks whether an entry allows an access.
func (s space) check(entry, linear uint64, write bool) *pageFault {
	code := uint32(0)
	if write {
		code = faultWrite
	}
	switch {
	case entry&ptePresent == 0:
		return &pageFault{linear, code}
	case write && s.readOnly && entry&pteWritable == 0:
		return &pageFault{linear, code | faultProtection}
	}
	return nil
}

// canonical says whether the upper bits of a linear address are all like bit 47.
func canonical(linear uint64) bool {
	return uint64(int64(linear<<16)>>16) == linear
}

// span is a stretch of linear addresses, as the pieces of RAM behind it.
type span [][]byte

// span translates n bytes at linear, which must not wrap around.
func (s space) span(linear uint64, n int, write bool) (sp span, fault *pageFault, err error) {
	for n > 0 {
		gpa, fault, err := s.translate(linear, write)
		if fault != nil || err != nil {
			return nil, fault, err
		}
		m := min(n, int(pageSize-gpa%pageSize))
		b, err := s.ram.Slice(gpa, m)
		if err != nil {
			return nil, nil, errNotRAM
		}
		sp = append(sp, b)
		linear, n = linear+uint64(m), n-m
	}
	return sp, nil, nil
}

// readAt copies from the span, from off on; it must be long enough.
func (sp span) readAt(p []byte, off int) {
	sp.each(off, len(p), func(b []byte) { p = p[copy(p, b):] })
}

// writeAt copies to the span, from off on; it must be long enough.
func (sp span) writeAt(p []byte, off int) {
	sp.each(off, len(p), func(b []byte) { p = p[copy(b, p):] })
}

// each calls f with the pieces that hold the n bytes at off.
func (sp span) each(off, n int, f func([]byte)) {
	for _, b := range sp {
		if off >= len(b) {
			off -= len(b)
			continue
		}
		b = b[off:min(len(b), off+n)]
		off, n = 0, n-len(b)
		if f(b); n == 0 {
			return
		}
	}
}
