package vsock

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
)

// Control packets that a connection owes its guest.
const (
	flagRequest = 1 << iota
	flagResponse
	flagCredit
	flagShutdown // the host sends no more
)

// conn is a connection: a Unix socket on the host, a pair of ports to the guest.
//
//	           REQUEST (host's)            RESPONSE
//	connecting ---------------> (guest) ------------> open --- reset, or both ends shut ---> closed
//
// Each direction ends by itself: the guest's by SHUTDOWN, which becomes a
// shutdown of the socket once all its bytes are written; the host's by end of
// file, which becomes a SHUTDOWN.
type conn struct {
	dev *Device
	key key
	uc  *net.UnixConn
	raw syscall.RawConn

	// For the tx goroutine's attempts to write, without allocation.
	tryWrite func(fd uintptr) bool
	data     virtio.Buffers
	tryErr   error

	// For the rx goroutine's answer to the reader's offer.
	answer chan outcome

	mu     sync.Mutex
	reader *sync.Cond // waits for isOpen, credit, guestNoRecv, closed
	writer *sync.Cond // waits for pending, guestNoSend, closed

	isOpen, closed bool
	left           bool   // the guest has reset it: it is to hear no more of it
	flags          uint32 // control packets owed; the rx goroutine's list holds c while any is

	// Guest to host, free-running counts of bytes (spec 5.10.6.3).
	pending     []byte // received, not yet written to the socket
	writing     bool   // the writer has bytes in hand, or the host has not heard OK
	rxCnt       uint32 // received from the guest
	fwdCnt      uint32 // of these, written to the socket
	toldFwd     uint32 // fwdCnt as the guest last heard it
	guestNoSend bool   // the guest said it sends no more
	guestNoRecv bool   // the guest said it receives no more

	// Host to guest.
	txCnt              uint32 // sent to the guest
	peerAlloc, peerFwd uint32 // the guest's credit as last heard
}

// newConn returns a connection that is not yet open.
func newConn(d *Device, k key, uc *net.UnixConn) (*conn, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{dev: d, key: k, uc: uc, raw: raw, answer: make(chan outcome, 1)}
	c.reader, c.writer = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	c.tryWrite = c.write
	return c, nil
}

// start runs the reader and the writer, which end when the connection does.
func (c *conn) start() {
	c.dev.host.Go(c.readLoop)
	c.dev.host.Go(c.writeLoop)
}

// opened notes that the guest agreed. It reports false if it had before.
func (c *conn) opened() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.isOpen
	c.isOpen = true
	c.reader.Signal()
	return first
}

// abandon notes that the guest has reset the connection. It reports false if that
// was never open: there is nothing to be finished.
func (c *conn) abandon() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	return c.isOpen
}

// close ends the connection on the host; goroutines that wait for it return.
// Closing the socket waits for a read under way, which may wait for the guest:
// so it has a goroutine, which ends with the reader's.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.reader.Signal()
	c.writer.Signal()
	c.dev.host.Go(func() { _ = c.uc.Close() })
}

// packet handles a packet of the guest for c. It reports whether the connection
// goes on; if not, it is to be reset.
func (c *conn) packet(h header, payload virtio.Buffers) bool {
	c.peerCredit(h)
	switch h.op {
	case opResponse:
		return c.opened() // one that nobody asked for is reset
	case opData:
		return c.fromGuest(payload)
	case opShutdown:
		c.shutdown(h.flags)
		return true
	case opCreditUpdate:
		return true
	case opCreditRequest:
		c.control(flagCredit)
		return true
	}
	return false // a second request, or nothing the spec knows
}

// peerCredit takes over what every header says of the guest's buffer.
func (c *conn) peerCredit(h header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peerAlloc, c.peerFwd = h.bufAlloc, h.fwdCnt
	c.reader.Signal()
}

// credit is how many bytes the guest has room for. It needs mu. A guest whose
// numbers make no sense has none, nor has one that is gone.
func (c *conn) credit() int {
	inFlight := c.txCnt - c.peerFwd
	if c.left || inFlight >= c.peerAlloc {
		return 0
	}
	return int(c.peerAlloc - inFlight)
}

// control owes the guest the control packets of flags.
func (c *conn) control(flags uint32) {
	c.mu.Lock()
	first := c.flags == 0
	c.flags |= flags
	c.mu.Unlock()
	if first {
		c.dev.rx.owe(c)
	}
}

// fromGuest takes bytes of the guest: to the socket, or kept for the writer.
func (c *conn) fromGuest(data virtio.Buffers) bool {
	n := uint32(data.Len())
	c.mu.Lock()
	ok := c.isOpen && !c.guestNoSend && n <= bufAlloc-(c.rxCnt-c.fwdCnt)
	direct := !c.writing && len(c.pending) == 0
	c.rxCnt += n
	c.mu.Unlock()
	if !ok {
		return false // it sends before it may, after it said it would not, or without credit
	}
	if direct {
		// Only this goroutine adds to pending, so nothing overtakes these bytes.
		c.data, c.tryErr = data, nil
		if err := c.raw.Write(c.tryWrite); err != nil || c.tryErr != nil {
			return false
		}
		c.forwarded(n - uint32(c.data.Len()))
		data = c.data
	}
	if data.Len() == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range data {
		c.pending = append(c.pending, b...)
	}
	c.writer.Signal()
	return true
}

// write writes as much of c.data as the socket takes at once.
func (c *conn) write(fd uintptr) bool {
	for len(c.data) > 0 {
		n, err := unix.Write(int(fd), c.data[0])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return true
		case err != nil:
			c.tryErr = err
			return true
		}
		c.data.Drop(n)
	}
	return true
}

// forwarded counts bytes written to the socket, and tells the guest when it has
// little credit left by what it knows.
func (c *conn) forwarded(n uint32) {
	c.mu.Lock()
	c.fwdCnt += n
	low := c.fwdCnt-c.toldFwd >= bufAlloc/4
	c.mu.Unlock()
	if low {
		c.control(flagCredit)
	}
}

// writeLoop writes what the socket did not take at once, and ends the guest's
// direction after the guest did.
func (c *conn) writeLoop() {
	var buf []byte
	for {
		c.mu.Lock()
		for len(c.pending) == 0 && !c.guestNoSend && !c.closed {
			c.writer.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		buf, c.pending = c.pending, buf[:0]
		c.writing = len(buf) > 0
		c.mu.Unlock()
		if len(buf) == 0 {
			c.guestEnded()
			return
		}
		if err := c.writeAll(buf); err != nil {
			c.dev.reset(c)
			return
		}
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
	}
}

// writeAll writes b, and gives the guest credit as the host takes it.
func (c *conn) writeAll(b []byte) error {
	for len(b) > 0 {
		n, err := c.uc.Write(b[:min(len(b), bufAlloc/4)])
		c.forwarded(uint32(n))
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// guestEnded passes the end of the guest's direction on. With both directions
// ended by the guest, that is the end of the connection.
func (c *conn) guestEnded() {
	_ = c.uc.CloseWrite() // an error is the reader's to meet
	c.mu.Lock()
	both := c.guestNoRecv
	c.mu.Unlock()
	if both {
		c.dev.reset(c)
	}
}

// shutdown notes what the guest will not do any more.
func (c *conn) shutdown(flags uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	written := c.guestNoSend && len(c.pending) == 0 && !c.writing
	c.guestNoRecv = c.guestNoRecv || flags&shutReceive != 0
	c.guestNoSend = c.guestNoSend || flags&shutSend != 0
	c.reader.Signal()
	c.writer.Signal()
	if c.guestNoRecv {
		_ = c.uc.CloseRead() // the writer on the host gets EPIPE
	}
	if written && c.guestNoRecv {
		// The writer has ended before the guest closed: end it here. In a
		// goroutine of the connection's since reset takes the device's lock.
		c.dev.host.Go(func() { c.dev.reset(c) })
	}
}

// outcome is what the rx goroutine made of an offer.
type outcome int

const (
	more  outcome = iota // bytes were sent; there may be more
	empty                // the socket has none now
	ended                // end of file, an error, or the device has stopped
)

// readLoop offers the socket's bytes to the rx goroutine, as they come and as
// the guest has credit, and ends the host's direction after the host did.
func (c *conn) readLoop() {
	eof := false
	err := c.raw.Read(func(fd uintptr) bool {
		for c.waitCredit() {
			switch c.dev.rx.offer(c, int(fd)) {
			case empty:
				return false // until the socket is readable
			case ended:
				eof = true
				return true
			}
		}
		return true
	})
	if err == nil && eof {
		c.control(flagShutdown)
	}
}

// waitCredit waits until the guest has room; it reports false if it never will.
func (c *conn) waitCredit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && !c.guestNoRecv && (!c.isOpen || c.credit() == 0) {
		c.reader.Wait()
	}
	return !c.closed && !c.guestNoRecv
}
