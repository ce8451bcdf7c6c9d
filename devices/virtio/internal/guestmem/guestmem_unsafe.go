// Package guestmem reads and writes the few words of guest memory that device
// and driver use at the same time: ring indices, flags and event indices.
// sync/atomic knows no 16-bit words, so each access goes through the aligned
// 32-bit word that holds it.
package guestmem

import (
	"sync/atomic"
	"unsafe"
)

// word returns the aligned 32-bit word that holds the 16 bits at b[off], and how
// far to shift it.
//
// Why unsafe holds: off+2 is inside b (checked by slicing), and an aligned word
// never crosses a page, so even where its other half lies outside b it is in
// the same page of guest RAM, which is mapped and freed by whole pages. In
// tests RAM is one Go allocation, also whole words long.
func word(b []byte, off int) (*uint32, uint) {
	p := unsafe.Pointer(unsafe.SliceData(b[off : off+2]))
	low := uintptr(p) & 3
	return (*uint32)(unsafe.Add(p, -int(low))), uint(low&2) * 8
}

// Load16 is an atomic load, with acquire order, of the little-endian 16 bits at
// b[off], whose address is even.
func Load16(b []byte, off int) uint16 {
	w, shift := word(b, off)
	return uint16(atomic.LoadUint32(w) >> shift)
}

// Store16 is an atomic store, and a full memory barrier, of the little-endian 16
// bits at b[off], whose address is even. The word's other half keeps its value,
// even if somebody changes it meanwhile; that only makes Store16 try again.
func Store16(b []byte, off int, v uint16) {
	w, shift := word(b, off)
	for {
		old := atomic.LoadUint32(w)
		if atomic.CompareAndSwapUint32(w, old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return
		}
	}
}

// Store16x2 stores two neighbours, lo at b[off] and hi at b[off+2], as one atomic
// store and a full memory barrier. The address is a multiple of 4.
func Store16x2(b []byte, off int, lo, hi uint16) {
	w, _ := word(b, off)
	atomic.StoreUint32(w, uint32(hi)<<16|uint32(lo))
}
