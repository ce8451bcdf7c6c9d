package memory

import "unsafe"

// base is the address of a mapping, for arithmetic only: it is never turned back
// into a pointer.
func base(m []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m))) }
