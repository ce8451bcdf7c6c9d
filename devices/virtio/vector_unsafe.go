package virtio

import (
	"io"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVector is the most pieces one call takes (UIO_MAXIOV).
const maxVector = 1024

// Vector does file I/O straight from and to guest memory: one system call for
// all pieces of a request. It holds the call's argument, so that a request
// allocates nothing; one goroutine at a time uses it. The zero Vector is ready.
type Vector struct {
	iov []unix.Iovec
}

// ReadAt fills b from f at off. What was filled is dropped from b, so that after
// an error b is what was not. A file that ends early is io.ErrUnexpectedEOF.
func (v *Vector) ReadAt(f *os.File, b *Buffers, off int64) error {
	return v.transfer(unix.SYS_PREADV, f, b, off)
}

// WriteAt writes b to f at off. What was written is dropped from b, so that
// after an error b is what was not.
func (v *Vector) WriteAt(f *os.File, b *Buffers, off int64) error {
	return v.transfer(unix.SYS_PWRITEV, f, b, off)
}

// transfer calls until b is empty: a call may do a part only.
func (v *Vector) transfer(trap uintptr, f *os.File, b *Buffers, off int64) error {
	for len(*b) > 0 {
		v.set(*b)
		n, errno := v.call(trap, f.Fd(), off)
		runtime.KeepAlive(f) // its fd is open until here
		switch {
		case errno == unix.EINTR: // nothing was transferred
		case errno != 0:
			return errno
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		b.Drop(n)
		off += int64(n)
	}
	return nil
}

// Readv makes one call of readv(2) into b, of a descriptor that is open meanwhile
// and does not block.
func (v *Vector) Readv(fd uintptr, b Buffers) (int, error) { return v.once(unix.SYS_READV, fd, b) }

// Writev makes one call of writev(2) from b, to a descriptor that is open meanwhile
// and does not block.
func (v *Vector) Writev(fd uintptr, b Buffers) (int, error) { return v.once(unix.SYS_WRITEV, fd, b) }

// once calls until it was not interrupted. A call that does not block is not worth
// the Go scheduler's attention (docs/devices.md): it is made raw.
//
// Why unsafe holds: as for call.
func (v *Vector) once(trap, fd uintptr, b Buffers) (int, error) {
	v.set(b)
	for {
		n, _, errno := unix.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v.iov))), uintptr(len(v.iov)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// set makes the system call's argument: the first pieces of b.
func (v *Vector) set(b Buffers) {
	v.iov = v.iov[:0]
	for _, s := range b[:min(len(b), maxVector)] {
		v.iov = append(v.iov, unix.Iovec{Base: unsafe.SliceData(s), Len: uint64(len(s))})
	}
}

// call is preadv(2) or pwritev(2).
//
// Why unsafe holds: v.iov is on the heap and is converted in the call itself,
// which keeps it where it is; its Base pointers keep the pieces, which are
// memory of the guest and outlive the device anyway; Len is the piece's own.
func (v *Vector) call(trap, fd uintptr, off int64) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v.iov))),
		uintptr(len(v.iov)), uintptr(off), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
