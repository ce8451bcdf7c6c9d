package kvm

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes an ioctl whose argument is a number. EINTR is the caller's.
func call(f *os.File, req, arg uintptr) (uintptr, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, arg)
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// callHolding is call for a goroutine that keeps its P meanwhile (RunHolding).
func callHolding(f *os.File, req, arg uintptr) (uintptr, error) {
	r, _, errno := unix.RawSyscall(unix.SYS_IOCTL, f.Fd(), req, arg)
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// callPtr makes an ioctl whose argument is *p. The pointer becomes a uintptr in
// the call itself, the one form in which the garbage collector and the stack
// know that the kernel uses it (unsafe.Pointer, rule 4).
func callPtr[T any](f *os.File, req uintptr, p *T) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, uintptr(unsafe.Pointer(p)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}

// callPtrHolding is callPtr for a goroutine that keeps its P meanwhile: for a call
// that does not sleep. The two are not one with the system call as a parameter: rule 4
// holds for a direct call only.
func callPtrHolding[T any](f *os.File, req uintptr, p *T) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, f.Fd(), req, uintptr(unsafe.Pointer(p)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}

// sizeOf is the size that ioctl numbers carry.
func sizeOf[T any]() uintptr {
	var t T
	return unsafe.Sizeof(t)
}

// address is where b lies in this process, for KVM to map into a guest. b must
// be memory that Go does not move or free: a mapping, which package memory gives.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// runPage gives the mapped pages of a vCPU their type: the kernel lays struct
// kvm_run at their start, and the mapping is page-aligned and outlives the
// pointer, which VCPU.Close drops.
func runPage(b []byte) *run { return (*run)(unsafe.Pointer(unsafe.SliceData(b))) }

// first is the first word of the run page, for atomic access: it is 8-byte
// aligned since the page is.
func (r *run) first() *uint64 { return (*uint64)(unsafe.Pointer(r)) }
