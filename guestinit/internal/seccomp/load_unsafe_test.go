package seccomp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// set sets the filter for the calling thread and what it becomes. It needs
// CAP_SYS_ADMIN or no-new-privs.
func set(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The pointer is converted in the call itself, which keeps prog, and with it
	// filter, alive and in place; the kernel copies both.
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("set the seccomp filter: %w", errno)
	}
	return nil
}
