package memory

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// word is the 8 bytes of RAM at gpa, for atomic access beside running vCPUs. A
// multiple of 8 of guest-physical space is one of this process's, since regions
// begin on pages; and a slice of RAM is not moved or freed but by Close.
func (r *RAM) word(gpa uint64) (*uint64, error) {
	if gpa%8 != 0 {
		return nil, fmt.Errorf("guest address %#x is not a multiple of 8", gpa)
	}
	b, err := r.Slice(gpa, 8)
	if err != nil {
		return nil, err
	}
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(b))), nil
}

// Load reads the 8 bytes at gpa, a multiple of 8, at once.
func (r *RAM) Load(gpa uint64) (uint64, error) {
	p, err := r.word(gpa)
	if err != nil {
		return 0, err
	}
	return atomic.LoadUint64(p), nil
}

// CompareAndSwap replaces the 8 bytes at gpa, a multiple of 8, by new if they are
// old, and says whether it did.
func (r *RAM) CompareAndSwap(gpa, old, new uint64) (bool, error) {
	p, err := r.word(gpa)
	if err != nil {
		return false, err
	}
	return atomic.CompareAndSwapUint64(p, old, new), nil
}
