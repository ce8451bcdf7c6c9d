package vsock

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
)

const (
	// maxData bounds the payload of one packet to the guest, in bytes.
	maxData = 64 << 10
	// maxOffer bounds what one connection sends before others have their turn.
	maxOffer = 64 << 10
)

// offered is a connection whose socket may have bytes.
type offered struct {
	c  *conn
	fd int // valid until the answer
}

// rx is the way to the guest: its goroutine alone uses the queue.
type rx struct {
	dev    *Device
	q      *virtio.Queue
	offers chan offered
	wake   chan struct{} // holds one value when owing or strays got longer
	done   chan struct{} // closed by stop

	chain     virtio.Chain
	haveChain bool // chain has been taken and not used
	room      virtio.Buffers

	mu     sync.Mutex
	owing  []*conn // with control packets to send
	strays []key   // to be reset, though there is no such connection
}

func newRX(d *Device, q *virtio.Queue) *rx {
	return &rx{
		dev: d, q: q,
		offers: make(chan offered),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

// stop ends serve, and every offer under way.
func (r *rx) stop() { close(r.done) }

// owe puts c, which has control flags, on the list.
func (r *rx) owe(c *conn) {
	r.mu.Lock()
	r.owing = append(r.owing, c)
	r.mu.Unlock()
	r.signal()
}

// stray owes the guest a reset of k.
func (r *rx) stray(k key) {
	r.mu.Lock()
	if len(r.strays) < maxStrays {
		r.strays = append(r.strays, k)
	}
	r.mu.Unlock()
	r.signal()
}

func (r *rx) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// offer lets the rx goroutine read the connection's socket, and waits for what
// came of it.
func (r *rx) offer(c *conn, fd int) outcome {
	select {
	case r.offers <- offered{c, fd}:
		return <-c.answer // serve answers every offer that it takes
	case <-r.done:
		return ended
	}
}

// serve sends control packets and data until stop. What is sent in a row is one
// batch for the guest.
func (r *rx) serve() {
	for {
		if h, ok := r.nextControl(); ok {
			if !r.send(h) {
				return
			}
			continue
		}
		select {
		case o := <-r.offers:
			o.c.answer <- r.data(o)
			continue
		default:
		}
		r.q.Flush()
		select {
		case <-r.wake:
		case o := <-r.offers:
			o.c.answer <- r.data(o)
		case <-r.done:
			return
		}
	}
}

// nextControl takes the next control packet owed.
func (r *rx) nextControl() (header, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.owing) > 0 {
		c := r.owing[0]
		h, last := c.nextControl()
		if last {
			r.owing = slices.Delete(r.owing, 0, 1) // keeps the array: no allocation at the next
		}
		if h.op != 0 {
			return h, true
		}
	}
	if len(r.strays) > 0 {
		k := r.strays[0]
		r.strays = slices.Delete(r.strays, 0, 1)
		return r.dev.header(k, opReset), true
	}
	return header{}, false
}

// nextControl takes one of c's control packets; last says that no more are owed.
func (c *conn) nextControl() (h header, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range []struct {
		flag uint32
		op   op
	}{{flagRequest, opRequest}, {flagResponse, opResponse}, {flagCredit, opCreditUpdate}, {flagShutdown, opShutdown}} {
		if c.flags&f.flag == 0 {
			continue
		}
		c.flags &^= f.flag
		if c.closed || c.left {
			break // the guest has been, or will be, told by a reset, or has sent one
		}
		h = c.header(f.op)
		if f.op == opShutdown {
			h.flags = shutSend
		}
		break
	}
	return h, c.flags == 0
}

// header is a packet of k to the guest.
func (d *Device) header(k key, o op) header {
	return header{
		srcCID: hostCID, dstCID: d.cid,
		srcPort: k.host, dstPort: k.guest,
		kind: typeStream, op: o,
	}
}

// header is a packet of c to the guest, with what c has to say of its credit. It
// needs mu.
func (c *conn) header(o op) header {
	h := c.dev.header(c.key, o)
	h.bufAlloc, h.fwdCnt = bufAlloc, c.fwdCnt
	c.toldFwd = c.fwdCnt
	return h
}

// take makes r.chain the guest's next buffer, and waits for one if there is none.
func (r *rx) take() bool {
	for !r.haveChain {
		if r.q.Next(&r.chain) {
			r.haveChain = true
			break
		}
		r.q.Flush()
		if !r.q.Wait() {
			return false
		}
	}
	return true
}

// push gives r.chain to the guest with header h and n bytes behind it. A buffer
// too small even for the header comes back empty, which a driver ignores.
func (r *rx) push(h header, n int) {
	b := h.encode()
	written := uint32(headerSize + n)
	if _, err := r.chain.Writable.Write(b[:]); err != nil {
		written = 0
	}
	r.q.Push(&r.chain, written)
	r.haveChain = false
}

// send sends a packet without data.
func (r *rx) send(h header) bool {
	if !r.take() {
		return false
	}
	r.push(h, 0)
	return true
}

// data reads the offered socket into the guest's next buffers, several in turn:
// each offer costs two changes of goroutine.
func (r *rx) data(o offered) outcome {
	for left := maxOffer; left > 0; {
		if !r.take() {
			return ended
		}
		n, result := r.fill(o, min(left, maxData))
		if result != more || n == 0 {
			return result
		}
		left -= n
	}
	return more
}

// fill reads at most limit bytes of the offered socket into the guest's next
// buffer and sends them. Of none, more means that the reader has to wait for
// credit.
func (r *rx) fill(o offered, limit int) (int, outcome) {
	o.c.mu.Lock()
	limit = min(o.c.credit(), limit)
	o.c.mu.Unlock()
	if limit == 0 {
		return 0, more
	}
	r.room = append(r.room[:0], r.chain.Writable...)
	room := r.room
	room.Drop(headerSize)
	if len(room) == 0 { // a buffer that holds no packet goes back as it came
		r.q.Push(&r.chain, 0)
		r.haveChain = false
		return 0, more
	}
	room.Truncate(limit)
	n, err := readSocket(o.fd, room[0]) // Linux's buffers are of one piece
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, empty
	case err != nil || n == 0:
		return 0, ended
	}
	o.c.mu.Lock()
	o.c.txCnt += uint32(n)
	h := o.c.header(opData)
	o.c.mu.Unlock()
	h.length = uint32(n)
	r.push(h, n)
	return n, more
}

func readSocket(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
