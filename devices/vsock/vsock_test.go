package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// noise is n bytes that do not repeat.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// get reads n bytes of the host's end.
func get(t *testing.T, c net.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// hasEnded checks that the host's end has been closed.
func hasEnded(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host reads %d bytes, %v, where the connection should have ended", n, err)
	}
}

func TestGuestConnects(t *testing.T) {
	s, c := pair(t)
	if s.alloc != bufAlloc || s.acked != 0 {
		t.Errorf("credit of the response: %d, %d", s.alloc, s.acked)
	}
	s.write([]byte("from guest"))
	if got := get(t, c, 10); string(got) != "from guest" {
		t.Errorf("the host reads %q", got)
	}
	if _, err := io.WriteString(c, "from host"); err != nil {
		t.Fatal(err)
	}
	if got := s.read(9); string(got) != "from host" {
		t.Errorf("the guest reads %q", got)
	}
	if s.acked != 10 {
		t.Errorf("%d bytes acknowledged, 10 sent", s.acked)
	}
}

func TestHostConnects(t *testing.T) {
	g := ready(t)
	c, k := g.dial(52)
	g.send(packet(k, opResponse), nil)
	if got, want := get(t, c, 14), fmt.Sprintf("OK %d\n", k.host); string(got) != want {
		t.Errorf("the host reads %q, want %q", got, want)
	}
	s := &stream{guest: g, k: k, alloc: bufAlloc}
	s.write([]byte("hello"))
	if got := get(t, c, 5); string(got) != "hello" {
		t.Errorf("the host reads %q", got)
	}
}

// TestNothingOvertakesOK: a guest that sends as soon as it has answered.
func TestNothingOvertakesOK(t *testing.T) {
	g := ready(t)
	for i := range 50 {
		c, k := g.dial(uint32(i))
		q, response, data := g.Queue(txQueue), packet(k, opResponse).encode(), packet(k, opData)
		data.length = 4
		raw := data.encode()
		q.Add(g.Put(response[:]))
		q.Add(g.Put(raw[:]), g.Put([]byte("data")))
		q.Kick()
		q.Wait()
		q.Wait()
		if got, want := get(t, c, 18), fmt.Sprintf("OK %d\ndata", k.host); string(got) != want {
			t.Fatalf("the host reads %q, want %q", got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	g := ready(t)
	k := key{host: 4000, guest: 5000}
	g.send(packet(k, opRequest), nil) // nobody listens there
	g.expect(k, opReset)
	c, k := g.dial(52)
	g.send(packet(k, opReset), nil)
	hasEnded(t, c)
	g.quiet()
}

func TestBadConnectLine(t *testing.T) {
	for _, line := range []string{"\n", "CONNECT\n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 4294967296\n", "connect 5\n", strings.Repeat("C", 100), "CONNECT 00000000000000000005\n"} {
		g := newGuest(t)
		c, err := net.Dial("unix", g.path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, line); err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(connectTimeout / 2)); err != nil {
			t.Fatal(err)
		}
		hasEnded(t, c)
	}
}

func TestGuestHalfCloses(t *testing.T) {
	s, c := pair(t)
	s.write([]byte("last"))
	s.send(s.shutdownPacket(shutSend), nil)
	if got, err := io.ReadAll(c); err != nil || string(got) != "last" {
		t.Errorf("the host reads %q, %v", got, err)
	}
	if _, err := io.WriteString(c, "answer"); err != nil { // that direction goes on
		t.Fatal(err)
	}
	if got := s.read(6); string(got) != "answer" {
		t.Errorf("the guest reads %q", got)
	}
	s.send(s.shutdownPacket(shutReceive), nil)
	s.expect(s.k, opReset)
}

func TestHostHalfCloses(t *testing.T) {
	s, c := pair(t)
	if _, err := io.WriteString(c, "last"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := s.read(4); string(got) != "last" {
		t.Errorf("the guest reads %q", got)
	}
	if h := s.expect(s.k, opShutdown); h.flags != shutSend {
		t.Errorf("shutdown of %#x", h.flags)
	}
	s.write([]byte("answer"))
	if got := get(t, c, 6); string(got) != "answer" {
		t.Errorf("the host reads %q", got)
	}
	s.send(s.shutdownPacket(shutBoth), nil)
	s.expect(s.k, opReset)
	hasEnded(t, c)
}

// TestGuestCloses: what it sent before arrives, however slow the host is.
func TestGuestCloses(t *testing.T) {
	s, c := pair(t)
	sent := noise(bufAlloc)
	s.write(sent) // more than the socket takes at once
	s.send(s.shutdownPacket(shutBoth), nil)
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the host reads %d bytes, %v", len(got), err)
	}
	for h, _ := s.receive(); h.op != opReset; h, _ = s.receive() {
		if h.op != opCreditUpdate {
			t.Fatalf("got %+v", h)
		}
	}
}

// TestGuestResetsAfterClose: what the guest sent before it closed arrives, though it
// has lost patience with the host's reader. Its ports are free again meanwhile.
func TestGuestResetsAfterClose(t *testing.T) {
	g := ready(t)
	ln := g.listen()
	s, c := g.connect(ln, 5000)
	sent := noise(2 * bufAlloc)
	room := len(sent)
	for n := s.credit(); n > 0 && room > 0; n = s.credit() {
		n = min(n, room)
		s.write(sent[len(sent)-room:][:n])
		room -= n
		g.send(packet(key{host: 9, guest: 9}, opData), nil) // answered after what is due before
		for h, _ := s.receive(); h.op != opReset; h, _ = s.receive() {
			s.heard(h)
		}
	}
	sent = sent[:len(sent)-room]
	if len(sent) < bufAlloc {
		t.Fatalf("%d bytes sent: less than the device keeps", len(sent))
	}
	s.send(s.shutdownPacket(shutBoth), nil)
	s.send(s.packet(opReset), nil)
	again, other := g.connect(ln, 5000)
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the host reads %d bytes of %d, %v", len(got), len(sent), err)
	}
	again.write([]byte("next"))
	if got := get(t, other, 4); string(got) != "next" {
		t.Errorf("the host reads %q of the connection after", got)
	}
	g.quiet()
}

// TestLeftConnections: those that the guest has reset count among its connections
// while their bytes are being written, and end with the device.
func TestLeftConnections(t *testing.T) {
	g := ready(t)
	ln := g.listen()
	unread := noise(bufAlloc) // more than the socket takes
	var conns []*net.UnixConn
	for range maxConns {
		s, c := g.connect(ln, 5000)
		s.write(unread)
		for range 2 { // its credit ends, and it hears so or not
			s.send(packet(key{host: 9, guest: 9}, opData), nil)
			for h, _ := s.receive(); h.op != opReset; h, _ = s.receive() {
				s.heard(h)
			}
			s.write(unread[:s.credit()])
		}
		s.send(s.packet(opReset), nil)
		conns = append(conns, c)
	}
	k := key{host: 1024, guest: 6000}
	g.send(packet(k, opRequest), nil)
	g.expect(k, opReset)
	_ = conns[0].Close()
	for done := false; !done; { // as soon as the device has seen that
		g.send(packet(k, opRequest), nil)
		h, _ := g.receive()
		done = h.op == opResponse
	}
	g.start()
	for _, c := range conns[1:] {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
	}
}

func TestHostCloses(t *testing.T) {
	s, c := pair(t)
	_ = c.Close()
	s.expect(s.k, opShutdown)
	h := s.packet(opData)
	h.length = 1
	s.send(h, []byte{0}) // nobody will ever read it
	s.expect(s.k, opReset)
	s.quiet()
}

func TestReset(t *testing.T) {
	s, c := pair(t)
	s.send(s.packet(opReset), nil)
	hasEnded(t, c)
	s.quiet()
}

// TestDeviceReset: the guest's reset ends every connection at once, those too
// that are not yet made, and the device starts again.
func TestDeviceReset(t *testing.T) {
	g := ready(t)
	ln := g.listen()
	for range 3 {
		_, open := g.connect(ln, 5000)
		silent, err := net.Dial("unix", g.path)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		waiting, _ := g.dial(52)
		g.start()
		for _, c := range []net.Conn{open, waiting, silent} {
			if err := c.SetDeadline(time.Now().Add(connectTimeout / 2)); err != nil {
				t.Fatal(err)
			}
			hasEnded(t, c)
		}
		g.offer(guestBuffers, bufferSize)
	}
}

// TestBackPressureFromGuest: with a host that does not read, the guest runs out
// of credit, no more than that is held, and all arrives in the end.
func TestBackPressureFromGuest(t *testing.T) {
	s, c := pair(t)
	sent := noise(4 << 20)
	first := 0
	for n := s.credit(); n > 0; n = s.credit() { // until no update comes
		s.write(sent[first : first+n])
		first += n
		s.send(packet(key{host: 9, guest: 9}, opData), nil) // answered after what is due before
		for {
			h, _ := s.receive()
			if h.op == opReset {
				break
			}
			s.heard(h)
		}
		if first > 2<<20 {
			t.Fatal("the guest never runs out of credit")
		}
	}
	if first < bufAlloc {
		t.Errorf("credit ended after %d bytes", first)
	}
	got := make([]byte, len(sent))
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Error(err)
		}
	})
	s.write(sent[first:])
	wg.Wait()
	if !bytes.Equal(got, sent) {
		t.Error("the host reads something else")
	}
}

// TestBackPressureFromHost: no more than the guest's credit is sent to it.
func TestBackPressureFromHost(t *testing.T) {
	g := ready(t)
	ln := g.listen()
	s := &stream{guest: g, k: key{host: 1024, guest: 5000}}
	request := packet(s.k, opRequest)
	request.bufAlloc = 10000
	g.send(request, nil)
	c, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	g.expect(s.k, opResponse)
	sent := noise(64 << 10)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	got := bytes.Clone(s.read(10000))
	g.quiet()
	for _, lie := range []uint32{10001, 1 << 31, ^uint32(0)} { // more than was sent has been read
		h := s.packet(opCreditUpdate)
		h.bufAlloc, h.fwdCnt = 10000, lie
		s.send(h, nil)
		g.quiet()
	}
	s.send(s.packet(opCreditUpdate), nil) // guestAlloc now, and the truth
	got = append(got, s.read(len(sent)-len(got))...)
	if !bytes.Equal(got, sent) {
		t.Error("the guest reads something else")
	}
}

// TestManyConnections: as many as there may be, both ways at once; one more is
// refused.
func TestManyConnections(t *testing.T) {
	g := ready(t)
	ln := g.listen()
	var streams []*stream
	var conns []*net.UnixConn
	for i := range maxConns {
		s, c := g.connect(ln, uint32(i))
		streams, conns = append(streams, s), append(conns, c)
	}
	k := key{host: 1024, guest: maxConns}
	g.send(packet(k, opRequest), nil)
	g.expect(k, opReset)
	for i, s := range streams {
		s.write([]byte{byte(i)})
	}
	for i, c := range conns {
		if got := get(t, c, 1); got[0] != byte(i) {
			t.Errorf("connection %d reads %d", i, got)
		}
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if got := streams[i].read(1); got[0] != byte(i) {
			t.Errorf("stream %d reads %d", i, got)
		}
	}
}

// TestBothWaysAtOnce: an echo of much data, with a queue's goroutine each.
func TestBothWaysAtOnce(t *testing.T) {
	s, c := pair(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		_ = c.CloseWrite()
	})
	sent := noise(1 << 20)
	for p := sent; len(p) > 0; p = p[32<<10:] {
		s.write(p[:32<<10])
		if got := s.read(32 << 10); !bytes.Equal(got, p[:32<<10]) {
			t.Fatal("the guest reads something else")
		}
	}
	s.send(s.shutdownPacket(shutSend), nil)
	s.expect(s.k, opShutdown)
}

func TestListenFails(t *testing.T) {
	if _, err := New(guestCID, t.TempDir()+"/no/such/folder"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
