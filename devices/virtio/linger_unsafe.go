package virtio

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Spare counts the Ps of the Go scheduler that a VM's workers may keep while they
// wait. nil has none.
type Spare struct{ left atomic.Int32 }

// NewSpare returns n spare Ps.
func NewSpare(n int) *Spare {
	s := new(Spare)
	s.left.Store(int32(n))
	return s
}

// lingering is how long a worker keeps its P: longer than the pauses of a busy
// queue, and short beside what anybody who stops the queue would notice.
const lingering = 2 * time.Millisecond

// linger waits a little until fd is readable, and reports whether it is. The
// goroutine keeps its P meanwhile, as if it were computing: the scheduler does not
// look for other work for it, which costs a busy device more than its requests do
// (docs/devices.md). It may return early. What waits longer belongs in the poller,
// where it costs nothing.
//
// Why unsafe holds: both arguments are on this stack and are converted in the call
// itself; a raw call can neither move the stack nor be preempted.
func (s *Spare) linger(fd uintptr) bool {
	if s == nil {
		return false
	}
	defer s.left.Add(1)
	if s.left.Add(-1) < 0 {
		return false
	}
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	timeout := unix.NsecToTimespec(lingering.Nanoseconds())
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
	return n == 1 // not if it failed: -1 is interrupted, by the runtime
}
