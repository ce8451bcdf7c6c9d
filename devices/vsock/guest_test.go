package vsock

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	guestCID = 3
	// guestAlloc is the credit the guest gives, guestBuffers how many receive
	// buffers of bufferSize it keeps offered: Linux's defaults.
	guestAlloc   = 256 << 10
	guestBuffers = 64
	bufferSize   = 4096
	// patience bounds waits for what must come.
	patience = 20 * time.Second
)

// guest is the guest's end of the device, as its driver in Linux is. Its receive
// and its transmit queue may be used by a goroutine each.
type guest struct {
	*virtiotest.Driver
	t          testing.TB
	path       string
	head, data virtiotest.Buffer            // for what is sent
	rx         map[uint16]virtiotest.Buffer // buffers offered, by head
	received   []byte                       // the payload of the last packet
	scratch    [headerSize]byte
}

// newGuest starts a device, with no receive buffers yet.
func newGuest(t testing.TB) *guest {
	t.Helper()
	path := filepath.Join(t.TempDir(), "v")
	d, err := New(guestCID, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &guest{Driver: virtiotest.New(t, d), t: t, path: path}
	g.head, g.data = g.Room(headerSize), g.Room(maxData)
	g.head.Writable, g.data.Writable = false, false
	g.start()
	return g
}

// start resets the device and starts it anew.
func (g *guest) start() {
	g.t.Helper()
	g.rx = map[uint16]virtiotest.Buffer{}
	g.Start(virtio.FeatureEventIdx)
}

// offer gives the device receive buffers.
func (g *guest) offer(n, size int) {
	g.t.Helper()
	for range n {
		b := g.Room(size)
		g.rx[g.Queue(rxQueue).Add(b)] = b
	}
	g.Queue(rxQueue).Kick()
}

// ready is a guest with receive buffers.
func ready(t testing.TB) *guest {
	t.Helper()
	g := newGuest(t)
	g.offer(guestBuffers, bufferSize)
	return g
}

// send sends a packet.
func (g *guest) send(h header, payload []byte) {
	g.t.Helper()
	g.scratch = h.encode()
	copy(g.Bytes(g.head), g.scratch[:])
	if len(payload) == 0 {
		g.Queue(txQueue).Do(g.head)
		return
	}
	data := g.data
	data.Len = uint32(len(payload))
	copy(g.Bytes(data), payload)
	g.Queue(txQueue).Do(g.head, data)
}

// receive waits for a packet, whose payload is valid until the next. The buffer
// is offered again.
func (g *guest) receive() (header, []byte) {
	g.t.Helper()
	q := g.Queue(rxQueue)
	head, n := q.Wait()
	b := g.rx[head]
	delete(g.rx, head)
	p := g.Bytes(b)[:n]
	if n < headerSize {
		g.t.Fatalf("a packet of %d bytes", n)
	}
	var raw [headerSize]byte
	copy(raw[:], p)
	h := decode(raw)
	g.received = append(g.received[:0], p[headerSize:]...)
	if int(h.length) != len(g.received) || h.srcCID != hostCID || h.dstCID != guestCID || h.kind != typeStream {
		g.t.Fatalf("packet %+v with %d bytes", h, len(g.received))
	}
	g.rx[q.Add(b)] = b
	q.Kick()
	return h, g.received
}

// expect waits for a packet of k, which has to be o.
func (g *guest) expect(k key, o op) header {
	g.t.Helper()
	h, _ := g.receive()
	if h.op != o || (key{h.srcPort, h.dstPort}) != k {
		g.t.Fatalf("got %+v, want op %d of %+v", h, o, k)
	}
	return h
}

// quiet checks that nothing is on its way to the guest: the reset that a stray
// packet is answered with comes next.
func (g *guest) quiet() {
	g.t.Helper()
	stray := key{host: 99999, guest: 99999}
	g.send(packet(stray, opData), nil)
	g.expect(stray, opReset)
}

// packet is one of the guest's.
func packet(k key, o op) header {
	return header{
		srcCID: guestCID, dstCID: hostCID, srcPort: k.guest, dstPort: k.host,
		kind: typeStream, op: o, bufAlloc: guestAlloc,
	}
}

// stream is the guest's end of a connection, which keeps to its credit.
type stream struct {
	*guest
	k                  key
	sent, alloc, acked uint32 // by us; the device's credit as last heard
	got                uint32 // bytes received
}

func (s *stream) packet(o op) header {
	h := packet(s.k, o)
	h.fwdCnt = s.got
	return h
}

// heard takes over the credit of a packet.
func (s *stream) heard(h header) { s.alloc, s.acked = h.bufAlloc, h.fwdCnt }

// credit is how many bytes the device has room for.
func (s *stream) credit() int { return int(s.alloc - (s.sent - s.acked)) }

// write sends p, and handles what comes meanwhile when it has no credit.
func (s *stream) write(p []byte) {
	s.t.Helper()
	for len(p) > 0 {
		for s.credit() == 0 {
			s.heard(s.expect(s.k, opCreditUpdate))
		}
		n := min(len(p), s.credit(), maxData)
		h := s.packet(opData)
		h.length = uint32(n)
		s.send(h, p[:n])
		s.sent += uint32(n)
		p = p[n:]
	}
}

// read receives n bytes, and tells the device that it has.
func (s *stream) read(n int) []byte {
	s.t.Helper()
	var all []byte
	told := s.got
	for len(all) < n {
		h, p := s.receive()
		s.heard(h)
		if h.op == opCreditUpdate {
			continue
		}
		if h.op != opData || (key{h.srcPort, h.dstPort}) != s.k {
			s.t.Fatalf("got %+v after %d of %d bytes", h, len(all), n)
		}
		all = append(all, p...)
		s.got += uint32(len(p))
		if s.got-told >= guestAlloc/2 {
			s.send(s.packet(opCreditUpdate), nil)
			told = s.got
		}
	}
	return all
}

// listen accepts the guest's connections to port 1024.
func (g *guest) listen() *net.UnixListener {
	g.t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: g.path + "_1024", Net: "unix"})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// connect is a connection of the guest's to port 1024 of the host, and the
// host's end of it.
func (g *guest) connect(ln *net.UnixListener, guestPort uint32) (*stream, *net.UnixConn) {
	g.t.Helper()
	s := &stream{guest: g, k: key{host: 1024, guest: guestPort}}
	g.send(packet(s.k, opRequest), nil)
	c, err := ln.AcceptUnix()
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	s.heard(g.expect(s.k, opResponse))
	return s, c
}

// pair is a guest with one connection to the host.
func pair(t testing.TB) (*stream, *net.UnixConn) {
	t.Helper()
	g := ready(t)
	return g.connect(g.listen(), 5000)
}

// dial connects the host to a port of the guest, up to the guest's answer.
func (g *guest) dial(port uint32) (*net.UnixConn, key) {
	g.t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: g.path, Net: "unix"})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "CONNECT %d\n", port); err != nil {
		g.t.Fatal(err)
	}
	h, _ := g.receive()
	if h.op != opRequest || h.dstPort != port {
		g.t.Fatalf("got %+v instead of a request to port %d", h, port)
	}
	return c, key{host: h.srcPort, guest: port}
}

func (s *stream) shutdownPacket(flags uint32) header {
	h := s.packet(opShutdown)
	h.flags = flags
	return h
}
