//go:build kvm

package vmm

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// faulty makes system calls fail: those of one thread, by a seccomp filter that
// hands each call of a list to a supervisor, which answers for the kernel or lets
// the kernel do its work (seccomp_unotify(2)). So any step of any code can fail,
// and the code knows nothing of it.
//
// Other threads, the supervisor's and those of the Go runtime, are not filtered.
type faulty struct {
	fail  int // which call fails, counted from 1
	err   unix.Errno
	calls []int32 // made so far, by number
}

// Structures of seccomp_unotify(2).
type (
	notification struct {
		id uint64
		_  [2]uint32 // pid, flags
		nr int32
		_  uint32    // arch
		_  [7]uint64 // instruction pointer, arguments
	}
	reply struct {
		id    uint64
		_     int64 // value
		errno int32
		flags uint32
	}
)

// init keeps the main goroutine on the main thread, the one that Go never ends:
// no filter may be put on it.
func init() { runtime.LockOSThread() }

// run calls f on a thread of its own whose call number fail, of those that filter
// chooses, fails. The thread ends with f: a filter cannot be taken off.
func (s *faulty) run(f func()) error {
	listener, filtered := make(chan int), make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread() // and never unlocked
		fd, err := filterThread()
		if err != nil {
			filtered <- err
			return
		}
		listener <- fd
		f()
		filtered <- nil
	}()
	select {
	case fd := <-listener:
		err := s.supervise(fd)
		return errors.Join(err, <-filtered, unix.Close(fd))
	case err := <-filtered:
		return err
	}
}

// filterThread puts the filter on the calling thread and returns its listener.
func filterThread() (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	insns := filter()
	prog := unix.SockFprog{Len: uint16(len(insns)), Filter: unsafe.SliceData(insns)}
	// prog and what it points to live until the call is over (unsafe.Pointer, rule 4).
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(insns)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// filter sends the calls by which New makes and opens things to the listener. Of
// mmap and madvise it takes those that the Go runtime does not make: the runtime
// would not survive their failure.
func filter() []unix.SockFilter {
	const number, arg2, arg3 = 0, 16 + 8*2, 16 + 8*3 // in struct seccomp_data
	load := func(off uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
	}
	unless := func(kind uint16, v uint32, skip uint8) unix.SockFilter { // skips that many instructions
		return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, K: v, Jf: skip}
	}
	answer := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	p := []unix.SockFilter{
		load(number),
		unless(unix.BPF_JEQ, unix.SYS_MMAP, 4),
		load(arg3),
		unless(unix.BPF_JSET, unix.MAP_SHARED|unix.MAP_NORESERVE, 1),
		answer(unix.SECCOMP_RET_USER_NOTIF),
		answer(unix.SECCOMP_RET_ALLOW),
		unless(unix.BPF_JEQ, unix.SYS_MADVISE, 4),
		load(arg2),
		unless(unix.BPF_JEQ, unix.MADV_DONTDUMP, 1),
		answer(unix.SECCOMP_RET_USER_NOTIF),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	for _, nr := range []uint32{
		unix.SYS_IOCTL, unix.SYS_OPENAT, unix.SYS_FSTAT, unix.SYS_PREAD64, unix.SYS_LSEEK, unix.SYS_FLOCK,
		unix.SYS_EVENTFD2, unix.SYS_SOCKET, unix.SYS_BIND, unix.SYS_LISTEN,
	} {
		p = append(p, unless(unix.BPF_JEQ, nr, 1), answer(unix.SECCOMP_RET_USER_NOTIF))
	}
	return append(p, answer(unix.SECCOMP_RET_ALLOW))
}

// supervise answers the filtered thread's calls until the thread has ended.
func (s *faulty) supervise(fd int) error {
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		switch {
		case p[0].Revents&unix.POLLIN != 0:
			if err := s.answer(fd); err != nil {
				return err
			}
		case p[0].Revents&unix.POLLHUP != 0:
			return nil
		}
	}
}

// answer answers one call. A signal takes a call back before it is answered
// (ENOENT); it comes again.
func (s *faulty) answer(fd int) error {
	var n notification
	if err := control(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, &n); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
			return nil
		}
		return err
	}
	r := reply{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if len(s.calls)+1 == s.fail {
		r.flags, r.errno = 0, -int32(s.err)
	}
	if err := control(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, &r); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	s.calls = append(s.calls, n.nr)
	return nil
}

// control makes an ioctl whose argument is *p (unsafe.Pointer, rule 4).
func control[T any](fd int, req uintptr, p *T) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(p))); errno != 0 {
		return errno
	}
	return nil
}
