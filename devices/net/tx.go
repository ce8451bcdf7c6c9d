package net

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
)

// sender carries frames from the guest; its goroutine alone uses it.
type sender struct {
	d      *Device
	q      *virtio.Queue
	vector virtio.Vector
	frame  virtio.Buffers
	try    func(fd uintptr) bool // write, made once: a method value allocates
}

// handle sends one frame. It writes nothing into the guest's buffers.
func (s *sender) handle(c *virtio.Chain) (written uint32, ok bool) {
	// The header is the driver's and is not looked at: a TAP copies and checks it,
	// and a link without headers offers nothing that it could ask for.
	n := c.Readable.Len() - headerSize
	if n < minFrame || n > s.d.longest(s.d.link.tap) {
		return 0, true
	}
	if !s.q.Admit(s.d.cfg.TX, n) {
		return 0, false
	}
	c.Readable.Drop(headerSize - s.d.link.header())
	s.frame = c.Readable
	// What the other end does not take is lost, as on a wire; only a stopped
	// device keeps it.
	err := s.d.link.raw.Write(s.try)
	return 0, !errors.Is(err, os.ErrDeadlineExceeded)
}

// write makes one attempt, and reports whether no other is needed. Before it waits
// for room the driver has all that was sent.
func (s *sender) write(fd uintptr) bool {
	if _, err := s.vector.Writev(fd, s.frame); !errors.Is(err, unix.EAGAIN) {
		return true
	}
	s.q.Flush()
	return false
}
