// Package memory is guest RAM: one anonymous mapping of this process, laid into
// the guest-physical address space around the hole below 4 GiB, and the one
// checked way to reach it by guest-physical address (GPA).
package memory

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The hole below 4 GiB that RAM leaves free for the APICs and the devices.
//
//	0            HoleStart     HoleEnd            HoleEnd + rest
//	| RAM, low part  |   hole      | RAM, high part  |
const (
	HoleStart = 0xc000_0000
	HoleEnd   = 0x1_0000_0000
)

// hugePage is what the mapping is aligned to, so that the host can back it, and
// nested paging map it, with huge pages.
const hugePage = 2 << 20

// Region is a stretch of RAM: Data is what the guest sees at GPA.
type Region struct {
	GPA  uint64
	Data []byte
}

// RAM is a guest's memory. It is safe for use by many goroutines; what the guest
// itself changes at any time is the caller's to mind.
type RAM struct {
	mapping []byte // as mapped, with room to align
	low     []byte // GPA 0 ...
	high    []byte // GPA HoleEnd ..., nil if all fits below the hole
}

// New maps size bytes of zeroed RAM, a multiple of the page size. The host gives
// pages as the guest touches them.
func New(size int64) (*RAM, error) {
	if page := int64(os.Getpagesize()); size <= 0 || size%page != 0 {
		return nil, fmt.Errorf("guest memory of %d bytes is not a positive multiple of %d", size, page)
	}
	if size > 1<<46 {
		return nil, fmt.Errorf("guest memory of %d bytes is more than a process can map", size)
	}
	m, err := unix.Mmap(-1, 0, int(size)+hugePage, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of guest memory: %w", size, err)
	}
	start := (hugePage - int(base(m)%hugePage)) % hugePage
	ram := m[start:][:size:size]
	// A guest is not part of this process's core dump.
	if err := unix.Madvise(ram, unix.MADV_DONTDUMP); err != nil {
		_ = unix.Munmap(m)
		return nil, fmt.Errorf("keep guest memory out of core dumps: %w", err)
	}
	// Fewer and larger faults where the host has huge pages; it may refuse.
	_ = unix.Madvise(ram, unix.MADV_HUGEPAGE)
	low := min(size, HoleStart)
	r := &RAM{mapping: m, low: ram[:low:low]}
	if size > low {
		r.high = ram[low:]
	}
	return r, nil
}

// Map lays size bytes of f, from off on, at gpa in place of what is there, all on
// whole pages. Writes, the guest's or this process's, go to a copy of the page. f
// may be closed, but its bytes must not change as long as the RAM is used.
func (r *RAM) Map(gpa uint64, f *os.File, off int64, size int) error {
	b, err := r.Slice(gpa, size)
	if err != nil {
		return err
	}
	if size == 0 {
		return nil
	}
	if err := mapOver(b, f, off); err != nil {
		return fmt.Errorf("map %d bytes of %s at %#x: %w", size, f.Name(), gpa, err)
	}
	// All at once now rather than each at the guest's first touch. Linux before
	// 5.14 cannot.
	_ = unix.Madvise(b, unix.MADV_POPULATE_READ)
	return unix.Madvise(b, unix.MADV_DONTDUMP)
}

// Close unmaps the RAM. No slice of it may be used afterwards.
func (r *RAM) Close() error {
	r.low, r.high = nil, nil
	if err := unix.Munmap(r.mapping); err != nil {
		return fmt.Errorf("unmap guest memory: %w", err)
	}
	return nil
}

// Size is how much RAM there is, in bytes.
func (r *RAM) Size() uint64 { return uint64(len(r.low) + len(r.high)) }

// Regions are the stretches of RAM by rising GPA.
func (r *RAM) Regions() []Region {
	regions := []Region{{GPA: 0, Data: r.low}}
	if r.high != nil {
		regions = append(regions, Region{GPA: HoleEnd, Data: r.high})
	}
	return regions
}

// Slice is the n bytes of RAM at gpa, or an error if any of them is not RAM.
func (r *RAM) Slice(gpa uint64, n int) ([]byte, error) {
	part, off := r.low, gpa
	if gpa >= HoleEnd {
		part, off = r.high, gpa-HoleEnd
	}
	if n < 0 || off > uint64(len(part)) || uint64(n) > uint64(len(part))-off {
		return nil, fmt.Errorf("no guest memory at %#x (%d bytes)", gpa, n)
	}
	return part[off:][:n:n], nil
}
