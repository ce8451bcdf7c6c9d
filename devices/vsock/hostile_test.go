package vsock

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// TestHostilePackets: what breaks the rules of a connection ends it, what belongs
// to none is answered with a reset or not at all, and the device goes on.
func TestHostilePackets(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*header)
		extra  int // bytes of payload sent
		ends   bool
	}{
		"length past the end":      {func(h *header) { h.op, h.length = opData, 5 }, 4, true},
		"length of 4 GiB":          {func(h *header) { h.op, h.length = opData, 1<<32-1 }, 4, true},
		"length short of the end":  {func(h *header) { h.op, h.length = opData, 0 }, 4, false},
		"seqpacket":                {func(h *header) { h.op, h.kind = opData, 2 }, 0, true},
		"no type":                  {func(h *header) { h.op, h.kind = opData, 0 }, 0, true},
		"no op":                    {func(h *header) { h.op = 0 }, 0, true},
		"unknown op":               {func(h *header) { h.op = 8 }, 0, true},
		"second request":           {func(h *header) { h.op = opRequest }, 0, true},
		"response to no request":   {func(h *header) { h.op = opResponse }, 0, true},
		"more than its credit":     {func(h *header) { h.op, h.length = opData, bufAlloc+1 }, bufAlloc + 1, true},
		"unknown shutdown flags":   {func(h *header) { h.op, h.flags = opShutdown, 0xfffffffc }, 0, false},
		"credit request":           {func(h *header) { h.op = opCreditRequest }, 0, false},
		"from another guest":       {func(h *header) { h.op, h.srcCID = opReset, 4 }, 0, false},
		"from the host":            {func(h *header) { h.op, h.srcCID = opReset, hostCID }, 0, false},
		"to another guest":         {func(h *header) { h.op, h.dstCID = opReset, 4 }, 0, false},
		"from a CID over 32 bits":  {func(h *header) { h.op, h.srcCID = opReset, 1<<32|guestCID }, 0, false},
		"for another connection's": {func(h *header) { h.op, h.srcPort = opReset, 5001 }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, conn := pair(t)
			h := s.packet(opData)
			c.change(&h)
			raw := h.encode()
			if payload := s.Room(max(c.extra, 1)); c.extra > 0 {
				payload.Writable = false
				s.Queue(txQueue).Do(s.Put(raw[:]), payload)
			} else {
				s.Queue(txQueue).Do(s.Put(raw[:]))
			}
			if c.ends {
				s.expect(s.k, opReset)
				hasEnded(t, conn)
			} else {
				if h.op == opCreditRequest {
					s.expect(s.k, opCreditUpdate)
				}
				s.write([]byte("on"))
				if got := get(t, conn, 2); string(got) != "on" {
					t.Errorf("the host reads %q", got)
				}
			}
			s.quiet()
		})
	}
}

// TestSplitHeader: a driver may cut a packet anywhere.
func TestSplitHeader(t *testing.T) {
	s, c := pair(t)
	h := s.packet(opData)
	h.length = 5
	raw := h.encode()
	p := append(raw[:], "hello"...)
	for _, cut := range []int{1, 43, 44, 45, 48} {
		s.Queue(txQueue).Do(s.Put(p[:cut]), s.Put(p[cut:]))
		if got := get(t, c, 5); string(got) != "hello" {
			t.Errorf("cut at %d the host reads %q", cut, got)
		}
	}
	s.Queue(txQueue).Do(s.Put(p[:20])) // no header
	s.quiet()
}

// TestSmallBuffers: receive buffers that hold no packet come back empty, and are
// no obstacle.
func TestSmallBuffers(t *testing.T) {
	g := newGuest(t)
	ln := g.listen()
	k := key{host: 1024, guest: 5000}
	g.send(packet(k, opRequest), nil)
	c, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	g.offer(1, headerSize)
	if head, n := g.Queue(rxQueue).Wait(); n != headerSize { // the response just fits
		t.Fatalf("%d bytes in buffer %d", n, head)
	}
	if _, err := io.WriteString(c, "data"); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, headerSize - 1, headerSize} {
		g.offer(1, size)
		if _, n := g.Queue(rxQueue).Wait(); n != 0 {
			t.Errorf("%d bytes in a buffer of %d", n, size)
		}
	}
	g.offer(1, headerSize+2) // by two bytes
	_, n := g.Queue(rxQueue).Wait()
	g.offer(1, headerSize+2)
	_, m := g.Queue(rxQueue).Wait()
	if n != headerSize+2 || m != headerSize+2 {
		t.Errorf("%d and %d bytes", n, m)
	}
}

// TestFlood: what a guest sends without giving receive buffers costs the host
// next to nothing, and is over when it gives some.
func TestFlood(t *testing.T) {
	g := newGuest(t)
	g.listen()
	for i := range 20000 {
		o := []op{opData, opRequest, opCreditRequest, opShutdown, 99}[i%5]
		g.send(packet(key{host: 1024 + uint32(i%2), guest: uint32(i % 1000)}, o), nil)
	}
	g.offer(64, bufferSize)
	seen := 0
	for {
		g.send(packet(key{host: 7, guest: 7}, opData), nil)
		h, _ := g.receive()
		seen++
		if h.srcPort == 7 {
			break
		}
	}
	if seen > 4*maxConns+maxStrays {
		t.Errorf("%d packets were owed", seen)
	}
}

// TestSocketIsRemoved: Close leaves no socket.
func TestSocketIsRemoved(t *testing.T) {
	path := t.TempDir() + "/v"
	d, err := New(guestCID, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestDataAllocatesNothing: neither way, per packet.
func TestDataAllocatesNothing(t *testing.T) {
	s, c := pair(t)
	p := make([]byte, 1024)
	s.received = make([]byte, 0, bufferSize)
	if n := testing.AllocsPerRun(500, func() {
		s.write(p)
		if _, err := io.ReadFull(c, p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a packet of the guest", n)
	}
	if n := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		h, got := s.receive()
		for h.op != opData {
			h, got = s.receive()
		}
		s.got += h.length
		if !bytes.Equal(got, p) {
			t.Fatal("the guest reads something else")
		}
		s.send(s.packet(opCreditUpdate), nil)
	}); n != 0 {
		t.Errorf("%v allocations for a packet of the host", n)
	}
}

// FuzzPacket gives the device packets of any bytes, beside a connection that is
// open: nothing crashes or hangs, and the device still answers.
func FuzzPacket(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte, cut uint8) {
		s, _ := pair(t)
		raw = raw[:min(len(raw), 8<<10)]
		if at := min(int(cut), len(raw)); at > 0 && at < len(raw) {
			s.Queue(txQueue).Do(s.Put(raw[:at]), s.Put(raw[at:]))
		} else if len(raw) > 0 {
			s.Queue(txQueue).Do(s.Put(raw))
		}
		last := key{host: 77777, guest: 77777}
		s.send(packet(last, opData), nil)
		for {
			h, _ := s.receive()
			if h.op == opReset && h.srcPort == last.host {
				return
			}
		}
	})
}
