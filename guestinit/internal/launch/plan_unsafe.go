package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plan is what a child does between clone3 and its exec: system calls and nothing
// else, since it runs in PID 1's memory, on the stack of the thread that waits for
// it, and no part of the Go runtime would work there. All that a call needs is
// made before; the child only follows the list.
type plan struct {
	calls []call
	keep  []any // what calls point to
}

// call is one system call of a plan.
type call struct {
	number uintptr
	args   [6]uintptr

	opens bool // its result is the file of the calls after it
	file  bool // its first argument is that file
	exec  bool // one of several ways to become the program: the next is tried

	// accept is a failure that is none, with which the next skip calls are left
	// out: what the kernel does not have needs nothing.
	accept syscall.Errno
	skip   int

	// failed makes the error of the call's failure.
	failed func(unix.Errno) error
}

// do adds a call and returns it for its details.
func (p *plan) do(failed func(unix.Errno) error, number uintptr, args ...uintptr) *call {
	c := call{number: number, failed: failed}
	copy(c.args[:], args)
	p.calls = append(p.calls, c)
	return &p.calls[len(p.calls)-1]
}

// text is the address of s with a final zero. The conversions here and in address
// hold because keep has what they point to until the child is done, and Go moves
// nothing on the heap.
func (p *plan) text(s string) uintptr {
	b := append([]byte(s), 0)
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// address is that of *v, which is on the heap since keep has it.
func address[T any](p *plan, v *T) uintptr {
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(v))
}

// texts is the address of a list of strings that ends with a null pointer, as
// execve(2) takes it.
func (p *plan) texts(list []string) uintptr {
	pointers := make([]uintptr, 0, len(list)+1)
	for _, s := range list {
		pointers = append(pointers, p.text(s))
	}
	pointers = append(pointers, 0)
	p.keep = append(p.keep, pointers)
	return uintptr(unsafe.Pointer(&pointers[0]))
}

// cloneArgs is struct clone_args (linux/sched.h).
type cloneArgs struct {
	flags, pidfd, childTID, _, exitSignal uint64
	_, _, _, _, _                         uint64 // a stack, thread-local storage, chosen numbers
	cgroup                                uint64
}

// outcome is what a child tells of a call that failed.
type outcome struct {
	call  int32
	errno int32
}

// born is a child that has begun to carry its plan out.
type born struct {
	pid, pidfd int
	inner      int // its number in its own PID namespace; 0 if its memory is its own
}

// start makes the child that carries the plan out, with the flags of clone3 and
// in the cgroup whose folder is given. With CLONE_VFORK it has executed its
// program, or failed, when start returns. What failed goes to the pipe out, whose
// end is the exec. The calling thread must be locked.
func (p *plan) start(flags uint64, cgroup, out *os.File) (born, error) {
	b := &struct {
		pidfd, inner int32
		old, all     uint64
		fd           int
	}{all: ^uint64(0), fd: int(out.Fd())}
	args := &cloneArgs{
		flags:      flags | unix.CLONE_PIDFD | unix.CLONE_INTO_CGROUP | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_CHILD_SETTID,
		pidfd:      uint64(address(p, &b.pidfd)),
		childTID:   uint64(address(p, &b.inner)),
		exitSignal: uint64(unix.SIGCHLD),
		cgroup:     uint64(cgroup.Fd()),
	}
	// A signal must not run the Go runtime's handler in the child: none comes to
	// this thread, and the child has no handlers (CLONE_CLEAR_SIGHAND) when its
	// plan lets signals in again.
	if err := sigprocmask(&b.all, &b.old); err != nil {
		return born{}, err
	}
	pid, errno := p.clone(args, b.fd)
	err := sigprocmask(&b.old, nil)
	runtime.KeepAlive(p)
	runtime.KeepAlive(out)
	runtime.KeepAlive(cgroup)
	if errno != 0 {
		return born{}, unix.Errno(errno)
	}
	return born{pid: int(pid), pidfd: int(b.pidfd), inner: int(b.inner)}, err
}

func sigprocmask(set, old *uint64) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(*set), 0, 0)
	if errno != 0 {
		return fmt.Errorf("block signals: %w", errno)
	}
	return nil
}

// clone returns in the parent alone. The runtime is told that the thread is in a
// system call, so that others go on while the child, which its container's limits
// may slow down, gets to its exec.
//
//go:nosplit
//go:norace
//go:noinline
func (p *plan) clone(args *cloneArgs, out int) (pid, errno uintptr) {
	entersyscall()
	pid, errno = clone3(args, unsafe.Sizeof(*args))
	if pid == 0 && errno == 0 {
		carryOut(p.calls, out)
	}
	exitsyscall()
	return pid, errno
}

// carryOut is the child: it does not return. It must not grow the stack, allocate
// or call anything but raw system calls.
//
//go:nosplit
//go:norace
//go:noinline
func carryOut(calls []call, out int) {
	var file uintptr
	var last outcome
	for i := 0; i < len(calls); i++ {
		c := &calls[i]
		first := c.args[0]
		if c.file {
			first = file
		}
		r, _, errno := syscall.RawSyscall6(c.number, first, c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		switch {
		case errno == 0:
			if c.opens {
				file = r
			}
			continue
		case c.exec:
			// As execvp(3): go on past what is not there, but remember another reason.
			if last.errno == 0 || last.errno == int32(unix.ENOENT) || last.errno == int32(unix.ENOTDIR) {
				last = outcome{int32(i), int32(errno)}
			}
			if i+1 < len(calls) {
				continue
			}
		case errno == c.accept:
			i += c.skip
			continue
		default:
			last = outcome{int32(i), int32(errno)}
		}
		_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(out), uintptr(unsafe.Pointer(&last)), unsafe.Sizeof(last))
		for {
			_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
		}
	}
}

// told waits for the child's exec, or its end, and says what failed.
func (p *plan) told(in *os.File) error {
	var o outcome
	_, err := io.ReadFull(in, unsafe.Slice((*byte)(unsafe.Pointer(&o)), unsafe.Sizeof(o))) // plain integers: any bytes are some
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("hear how the process's start went: %w", err)
	}
	return p.calls[o.call].failed(unix.Errno(o.errno))
}

func clone3(args *cloneArgs, size uintptr) (pid, errno uintptr)

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()
