package net

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
)

// maxPieces bounds the pieces of guest memory that a frame is read into, within
// what one system call takes (UIO_MAXIOV) when a last chain of a whole queue is
// added.
const maxPieces = 512

// receiver carries frames to the guest; its goroutine alone uses it.
type receiver struct {
	d       *Device
	q       *virtio.Queue
	merge   bool // a frame may go on in the next chain
	longest int  // with its header

	vector virtio.Vector
	chains []*virtio.Chain // the guest's, taken and not used
	spare  []*virtio.Chain // not in use
	room   int             // bytes in chains
	pieces virtio.Buffers  // of chains
	over   []byte          // a byte that a frame for which the chains have no room ends in
	into   virtio.Buffers  // where the next frame is read: pieces, then over
	try    func(fd uintptr) bool
	n      int // what try has read
	err    error
}

func newReceiver(d *Device, q *virtio.Queue, features uint64) *receiver {
	r := &receiver{
		d: d, q: q,
		merge:   features&featureMrgRxbuf != 0,
		longest: headerSize + d.longest(features&(featureGuestTSO4|featureGuestTSO6) != 0),
	}
	r.over = make([]byte, 1)
	r.try = r.read // made once: a method value allocates
	return r
}

// serve carries frames until the queue is stopped or the link has ended. Frames
// that come without a pause are one batch for the guest.
func (r *receiver) serve() {
	for r.take() {
		if err := r.d.link.raw.Read(r.try); err != nil || r.err != nil || !r.deliver() {
			break
		}
	}
	r.q.Undo(len(r.chains))
	r.q.Flush()
}

// take returns when the guest has given a chain, or false if it will not any more.
func (r *receiver) take() bool {
	for r.gather(); len(r.chains) == 0; r.gather() {
		r.q.Flush()
		if !r.q.Wait() {
			return false
		}
	}
	return true
}

// gather takes the guest's chains, enough for any frame or as many as there are.
func (r *receiver) gather() {
	for r.wantsMore() && r.next() {
	}
}

func (r *receiver) wantsMore() bool {
	if !r.merge {
		return len(r.chains) == 0
	}
	return r.room < r.longest && len(r.pieces) < maxPieces
}

// next takes one chain. A first one without room for the header is given back
// empty.
func (r *receiver) next() bool {
	if len(r.spare) == 0 {
		r.spare = append(r.spare, new(virtio.Chain)) // no more than the queue has descriptors
	}
	c := r.spare[len(r.spare)-1]
	if !r.q.Next(c) {
		return false
	}
	n := c.Writable.Len()
	if n < headerSize && len(r.chains) == 0 {
		r.q.Push(c, 0)
		return true
	}
	r.spare = r.spare[:len(r.spare)-1]
	r.chains = append(r.chains, c)
	r.pieces = append(r.pieces, c.Writable...)
	r.room += n
	return true
}

// read reads a frame, if one comes soon, and reports whether no other attempt is
// needed.
func (r *receiver) read(fd uintptr) bool {
	return r.attempt(fd) || r.q.Linger(fd) && r.attempt(fd)
}

// attempt reads a frame, if there is one. Before it is waited for the guest has all
// that came.
func (r *receiver) attempt(fd uintptr) bool {
	r.gather() // what has come while it waited
	r.into = append(r.into[:0], r.pieces...)
	r.into.Drop(headerSize - r.d.link.header())
	r.into = append(r.into, r.over)
	r.n, r.err = r.vector.Readv(fd, r.into)
	if errors.Is(r.err, unix.EAGAIN) {
		r.q.Flush()
		return false
	}
	if r.n == 0 && r.err == nil {
		r.err = io.EOF // the other end has closed
	}
	return true
}

// deliver gives the guest the frame that was read, unless it is none or has no
// room. It returns false if the queue was stopped first: then the frame is lost.
func (r *receiver) deliver() bool {
	frame := r.n - r.d.link.header()
	total := headerSize + frame
	if frame < minFrame || total > r.room {
		return true
	}
	if !r.q.Admit(r.d.cfg.RX, frame) {
		return false
	}
	used, pieces := 0, 0
	for left := total; left > 0; used++ {
		c := r.chains[used]
		left -= c.Writable.Len()
		pieces += len(c.Writable)
	}
	r.room -= r.push(total, used)
	r.spare = append(r.spare, r.chains[:used]...)
	r.chains = slices.Delete(r.chains, 0, used)
	r.pieces = slices.Delete(r.pieces, 0, pieces)
	return true
}

// push gives the guest the first used chains with total bytes in them, and returns
// how much room they had.
func (r *receiver) push(total, used int) (room int) {
	var header [headerSize]byte
	binary.LittleEndian.PutUint16(header[numBuffers:], uint16(used))
	ours := header[:]
	if r.d.link.tap {
		ours = header[numBuffers:] // the rest has come from the host's stack
	}
	for i, c := range r.chains[:used] {
		n := c.Writable.Len()
		if i == 0 {
			c.Writable.Drop(headerSize - len(ours))
			_, _ = c.Writable.Write(ours) // there is room: next saw to it
		}
		r.q.Push(c, uint32(min(n, total-room)))
		room += n
	}
	return room
}
