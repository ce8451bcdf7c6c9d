package memory

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapOver maps f from off on over b, which is a part of a RAM's own mapping: what
// is replaced is nobody else's, and Close unmaps both.
func mapOver(b []byte, f *os.File, off int64) error {
	_, err := unix.MmapPtr(int(f.Fd()), off, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	return err
}
