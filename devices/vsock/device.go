// Package vsock is the virtio socket device (spec 5.10): stream connections
// between processes of the guest and Unix sockets of the host.
//
//	host process connects to PATH      "CONNECT <port>\n" -> "OK <host port>\n", then bytes
//	guest connects to CID 2, port P    the device connects to PATH_P; reset if nobody listens
//
// How bytes travel:
//
//	guest -> host   tx goroutine: ring -> Unix socket, straight from guest memory. What the
//	                socket does not take is kept, at most bufAlloc bytes (that is what credit
//	                promises the guest), and written by the connection's writer goroutine.
//	host -> guest   reader goroutine of the connection: waits for bytes and for the guest's
//	                credit, then offers itself to the rx goroutine, which reads the socket
//	                straight into the guest's next buffer.
//
// Only the tx goroutine uses the tx queue and only the rx goroutine the rx queue.
// The tx goroutine never waits for the rx queue: a control packet that has to go
// out is a flag of its connection, so a guest that gives no buffers costs nothing.
package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mvm-project/mvm/devices/virtio"
)

const (
	deviceType = 19
	hostCID    = 2

	rxQueue, txQueue, eventQueue = 0, 1, 2

	queueSize      = 128
	eventQueueSize = 8

	// bufAlloc is how many bytes of a connection the device holds for a slow
	// reader on the host, and maxConns how many connections there may be.
	bufAlloc = 256 << 10
	maxConns = 256
	// maxStrays bounds the resets owed to packets of no connection; beyond it
	// they go unanswered.
	maxStrays = 64
)

// key names a connection by the ports of both ends.
type key struct {
	host, guest uint32
}

// Device is the socket device. New makes it, Close gives its socket back.
type Device struct {
	cid  uint64
	path string
	ln   *net.UnixListener

	workers virtio.Workers
	host    sync.WaitGroup // goroutines of connections and of the listener
	rx      *rx            // from Start to Stop

	mu       sync.Mutex
	running  bool
	conns    map[key]*conn
	left     map[*conn]struct{}         // by the guest, with bytes still to be written to the socket
	greeting map[*net.UnixConn]struct{} // of the host, before they said where to
	nextPort uint32
}

// New returns the device of a guest with address cid, listening on the Unix
// socket path.
func New(cid uint64, path string) (*Device, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		var call *os.SyscallError
		if errors.As(err, &call) && call.Syscall == "listen" {
			_ = os.Remove(path) // bind made it; the error tells enough
		}
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return &Device{cid: cid, path: path, ln: ln, conns: map[key]*conn{}, left: map[*conn]struct{}{}, greeting: map[*net.UnixConn]struct{}{}}, nil
}

// Close removes the socket. The device must be stopped.
func (d *Device) Close() error { return d.ln.Close() }

// Type implements virtio.Device.
func (*Device) Type() uint32 { return deviceType }

// Features implements virtio.Device: stream sockets need none.
func (*Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device.
func (*Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize, eventQueueSize} }

// ReadConfig implements virtio.Device: the guest's CID.
func (d *Device) ReadConfig(off uint32, p []byte) {
	b := binary.LittleEndian.AppendUint64(nil, d.cid)
	if off < uint32(len(b)) {
		copy(p, b[off:])
	}
}

// Start implements virtio.Device. The event queue is the driver's to fill and
// ours to leave: nothing is ever reported there.
func (d *Device) Start(_ uint64, queues []*virtio.Queue) error {
	if queues[rxQueue] == nil || queues[txQueue] == nil {
		return errors.New("vsock: the driver left a queue disabled")
	}
	if err := d.ln.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	d.rx = newRX(d, queues[rxQueue])
	d.mu.Lock()
	d.running = true
	d.mu.Unlock()
	d.workers.Go(queues[rxQueue], d.rx.serve)
	d.workers.Go(queues[txQueue], func() { queues[txQueue].Serve(func(c *virtio.Chain) (uint32, bool) { d.receive(c); return 0, true }) })
	d.host.Go(d.accept) // ends when Stop sets the listener's deadline
	return nil
}

// Stop implements virtio.Device: it resets every connection.
func (d *Device) Stop() error {
	d.mu.Lock()
	if !d.running {
		d.mu.Unlock()
		return nil
	}
	d.running = false
	conns := slices.AppendSeq(slices.Collect(maps.Values(d.conns)), maps.Keys(d.left))
	d.conns, d.left = map[key]*conn{}, map[*conn]struct{}{}
	for uc := range d.greeting {
		_ = uc.SetDeadline(time.Unix(1, 0)) // its goroutine closes it
	}
	d.mu.Unlock()

	err := d.ln.SetDeadline(time.Unix(1, 0))
	d.rx.stop()
	d.workers.Stop()
	for _, c := range conns {
		c.close()
	}
	d.host.Wait()
	return err
}

// receive handles one packet of the guest. It writes nothing into the guest's
// buffers.
func (d *Device) receive(chain *virtio.Chain) {
	h, payload, err := readPacket(chain.Readable)
	if h.srcCID != d.cid || h.dstCID != hostCID {
		return // not from this guest, or not for this host: nobody to answer
	}
	k := key{host: h.dstPort, guest: h.srcPort}
	c := d.find(k)
	switch {
	case err != nil || h.kind != typeStream:
		d.drop(c)
		d.rx.stray(k)
	case c != nil && h.op == opReset:
		d.leave(c)
	case c != nil:
		if !c.packet(h, payload) {
			d.reset(c)
		}
	case h.op == opRequest:
		if !d.connect(k, h) {
			d.rx.stray(k)
		}
	case h.op != opReset:
		d.rx.stray(k)
	}
}

func (d *Device) find(k key) *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[k]
}

// connect answers the guest's request for a connection to host port k.host.
func (d *Device) connect(k key, h header) bool {
	if d.full() {
		return false
	}
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("%s_%d", d.path, k.host), Net: "unix"})
	if err != nil {
		return false
	}
	c, err := newConn(d, k, uc)
	if err != nil || !d.add(c) {
		_ = uc.Close()
		return false
	}
	c.peerCredit(h)
	c.opened()
	c.control(flagResponse)
	c.start()
	return true
}

func (d *Device) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count() >= maxConns
}

// add takes c in, unless there are too many or the device has stopped.
func (d *Device) add(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running || d.count() >= maxConns || d.conns[c.key] != nil {
		return false
	}
	d.conns[c.key] = c
	return true
}

// count is how many connections there are, which the guest has to be refused more
// of. It needs mu.
func (d *Device) count() int { return len(d.conns) + len(d.left) }

// leave takes c from the guest, which has reset it. What the guest sent before is
// still written: Linux resets a connection that it has closed, and that the host has
// not, after eight seconds (VSOCK_CLOSE_TIMEOUT), and the host's reader may be slow.
func (d *Device) leave(c *conn) {
	if !c.abandon() {
		d.drop(c)
		return
	}
	d.mu.Lock()
	if d.conns[c.key] == c {
		delete(d.conns, c.key)
		d.left[c] = struct{}{}
	}
	d.mu.Unlock()
	c.shutdown(shutBoth)
}

// drop ends c and forgets it, and reports whether the guest still knew it; nil is no
// connection.
func (d *Device) drop(c *conn) bool {
	if c == nil {
		return false
	}
	d.mu.Lock()
	known := d.conns[c.key] == c
	if known {
		delete(d.conns, c.key)
	}
	delete(d.left, c)
	d.mu.Unlock()
	c.close()
	return known
}

// reset ends c and tells the guest, unless either has happened.
func (d *Device) reset(c *conn) {
	if d.drop(c) {
		d.rx.stray(c.key)
	}
}
