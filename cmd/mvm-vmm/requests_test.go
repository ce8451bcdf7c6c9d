package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// testGuest is the host's side of a conversation with the guest at the other end
// of a pipe.
func testGuest() (*guest, net.Conn) {
	near, far := net.Pipe()
	return &guest{
		container: "c", control: near, fail: make(chan error, 1), over: make(chan struct{}),
		replies: map[uint64]chan proto.Reply{}, processes: map[string]*process{},
	}, far
}

// A guest that does not read ends its container, not the host's patience; what
// else the host does goes on meanwhile.
func TestGuestDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := testGuest()
		sent := make(chan error, 1)
		go func() { // ends with send
			_, err := g.send(proto.Request{Signal: &proto.Signal{}})
			sent <- err
		}()
		synctest.Wait()
		if p := g.add("x", nil); p == nil {
			t.Error("no process") // as long as it does not hang
		}
		if err := <-sent; err == nil {
			t.Error("the request was sent")
		}
		if err := <-g.fail; !strings.Contains(err.Error(), "takes no requests") {
			t.Error(err)
		}
		if len(g.replies) > 0 {
			t.Errorf("%d replies are waited for", len(g.replies))
		}
	})
}

// A guest that does not answer costs a bounded number of replies to wait for.
func TestGuestDoesNotAnswer(t *testing.T) {
	g, far := testGuest()
	read := make(chan struct{})
	go func() { // ends with the pipe
		defer close(read)
		for {
			if _, err := proto.ReadRequest(far); err != nil {
				return
			}
		}
	}()
	for i := range maxUnanswered {
		if _, err := g.send(proto.Request{Signal: &proto.Signal{}}); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if _, err := g.send(proto.Request{Signal: &proto.Signal{}}); err == nil || !strings.Contains(err.Error(), "has not answered") {
		t.Error(err)
	}
	if err := g.hear(proto.Message{Reply: &proto.Reply{ID: 7}}); err != nil {
		t.Error(err)
	}
	if _, err := g.send(proto.Request{Signal: &proto.Signal{}}); err != nil {
		t.Errorf("after an answer: %v", err)
	}
	far.Close()
	<-read
}

// What came on one connection may be heard before what came earlier on another.
func TestStreamAfterEnd(t *testing.T) {
	g, _ := testGuest()
	stream := proto.Stream{Container: "c", Process: "1", Name: "stdout"}
	taken := 0
	p := g.add("1", map[string]func(net.Conn){"stdout": func(net.Conn) { taken++ }})
	exited := proto.Message{Exited: &proto.Exited{Container: "c", Process: "1"}}
	if err := g.hear(exited); err != nil {
		t.Fatal(err)
	}
	if g.hear(exited) == nil {
		t.Error("a process ended twice")
	}
	take, err := g.expected(stream)
	if err != nil {
		t.Fatal(err)
	}
	if take(nil); taken != 1 || len(p.exited) != 1 || len(g.processes) != 0 {
		t.Errorf("taken %d times, %d ends, %d processes left", taken, len(p.exited), len(g.processes))
	}
	// The same for one that never ran, whose streams are nobody's.
	for range 2 * maxForgotten {
		p = g.add("1", map[string]func(net.Conn){"stdout": nil})
		g.forget(p)
	}
	if take, err = g.expected(stream); err != nil {
		t.Fatal(err)
	}
	near, _ := net.Pipe()
	take(near)
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("the stream was left open")
	}
	if len(g.forgotten) > maxForgotten {
		t.Errorf("%d are remembered", len(g.forgotten))
	}
}

// Of any number of execs each has its turn, if those that run end; else it is told.
func TestExecTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := testGuest()
		s := &session{guest: g, execs: make(chan struct{}, maxExecs)}
		const many = 1000
		turns := make(chan error)
		for range many {
			go func() { turns <- s.awaitTurn() }() // ends with its turn
		}
		for i := range many { // some time later than a single one would wait
			if err := <-turns; err != nil {
				t.Fatalf("%d had their turn: %v", i, err)
			}
			if i >= many-maxExecs {
				continue // it runs on
			}
			time.Sleep(execPatience * 9 / 10)
			<-s.execs
		}
		if err := s.awaitTurn(); err == nil || !strings.Contains(err.Error(), "no more can") {
			t.Errorf("one more than may be: %v", err)
		}
		close(g.over)
		if err := s.awaitTurn(); !errors.Is(err, errOver) {
			t.Errorf("after the end: %v", err)
		}
	})
}
