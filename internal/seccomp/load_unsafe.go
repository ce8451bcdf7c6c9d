package seccomp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load sets a filter for all threads, which have no new privileges from then on if
// this one has none.
func load(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	// The pointer is converted in the call itself, which keeps prog, and with it filter,
	// alive and in place; the kernel copies both.
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	switch {
	case errno != 0:
		return errno
	case tid != 0:
		return fmt.Errorf("thread %d has a filter of its own", tid)
	}
	return nil
}
