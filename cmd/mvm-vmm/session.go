package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

const (
	// helloTimeout bounds a boot: far above the slowest host's, so that it ends
	// a guest that hangs and nothing else.
	helloTimeout = 2 * time.Minute
	// firstFrameTimeout bounds how long a new connection may say nothing.
	firstFrameTimeout = 30 * time.Second
	// maxConns is how many connections a guest may ever open: one for control
	// and three for streams, and no more for a guest that is up to no good.
	maxConns = 4
)

// session is the host's side of guestinit/proto with one guest.
type session struct {
	container proto.Container
	ln        net.Listener
	guest     chan net.Conn // the control connection, once the guest said Hello
	fail      chan error    // what was wrong with a connection

	mu      sync.Mutex
	control net.Conn            // nil until the guest said Hello
	pending []proto.Signal      // signals that came before the process started
	running bool                // Started has been received
	streams map[string]net.Conn // by name

	outputs sync.WaitGroup // of stdout and stderr, each until its end
}

// newSession listens where the guest's connections to proto.Port arrive.
func newSession(spec control.Spec) (*session, error) {
	path := fmt.Sprintf("%s_%d", spec.VM.Vsock, proto.Port)
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the guest: %w", err)
	}
	s := &session{
		container: spec.Container,
		ln:        ln,
		guest:     make(chan net.Conn, 1),
		fail:      make(chan error, maxConns),
		streams:   map[string]net.Conn{},
	}
	s.outputs.Add(2)
	go s.accept() // ends when the listener closes
	return s, nil
}

// close ends the session's goroutines: each is blocked on one of these.
func (s *session) close() {
	s.ln.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.control != nil {
		s.control.Close()
	}
	for _, c := range s.streams {
		c.Close()
	}
}

// accept takes the guest's connections, at most maxConns of them.
func (s *session) accept() {
	for range maxConns {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		go func() { // ends at the latest by firstFrameTimeout or, as a stream, by close
			if err := s.greet(c); err != nil {
				c.Close()
				s.fail <- err
			}
		}()
	}
}

// greet reads a connection's first frame and gives it its purpose.
func (s *session) greet(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(firstFrameTimeout)); err != nil {
		return err
	}
	var m proto.Message
	if err := proto.ReadFrame(c, &m); err != nil {
		return fmt.Errorf("the guest's first frame: %w", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	switch {
	case m.Hello != nil:
		return s.hello(c, *m.Hello)
	case m.Stream != nil:
		return s.stream(c, *m.Stream)
	}
	return errors.New("the guest's first frame is neither Hello nor Stream")
}

func (s *session) hello(c net.Conn, h proto.Hello) error {
	if h.Version != proto.Version {
		return fmt.Errorf("the guest speaks protocol version %d, this mvm %d: use the initramfs built with it", h.Version, proto.Version)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.control != nil {
		return errors.New("the guest said Hello twice")
	}
	s.control = c
	s.guest <- c
	return nil
}

// signal passes a signal to the container's process, once there is one.
func (s *session) signal(sig proto.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		s.pending = append(s.pending, sig)
		return
	}
	s.send(sig)
}

// send needs mu. A guest that is gone is noticed by converse.
func (s *session) send(sig proto.Signal) {
	_ = proto.WriteFrame(s.control, proto.Message{Signal: &sig})
}

// converse starts the container and returns how it exited, after all its output
// has been written. It ends early when ctx does, or when ended yields the end of
// the VM; onStart is called when the process runs.
func (s *session) converse(ctx context.Context, ended <-chan error, onStart func(proto.Started)) (proto.Exit, error) {
	c, err := s.awaitHello(ended)
	if err != nil {
		return proto.Exit{}, err
	}
	if err := s.start(c); err != nil {
		return proto.Exit{}, s.gone(ended, err)
	}
	replies := make(chan reply)
	quit := make(chan struct{})
	defer close(quit)
	go receive(c, replies, quit) // ends with Exit, an error, or quit and close
	for {
		select {
		case r := <-replies:
			switch {
			case r.err != nil:
				return proto.Exit{}, s.gone(ended, r.err)
			case r.m.Started != nil:
				s.run()
				onStart(*r.m.Started)
			case r.m.Exit != nil:
				return *r.m.Exit, s.drain(ctx, *r.m.Exit, ended)
			}
		case err := <-s.fail:
			return proto.Exit{}, err
		case err := <-ended:
			return proto.Exit{}, stopped(err)
		}
	}
}

func (s *session) awaitHello(ended <-chan error) (net.Conn, error) {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case c := <-s.guest:
		return c, nil
	case err := <-s.fail:
		return nil, err
	case err := <-ended:
		return nil, stopped(err)
	case <-timeout.C:
		return nil, fmt.Errorf("the guest did not come up within %v: see its console with --console", helloTimeout)
	}
}

func (s *session) start(c net.Conn) error {
	seed := make([]byte, 64)
	_, _ = rand.Read(seed) // never fails: crypto/rand
	return proto.WriteFrame(c, proto.Message{Start: &proto.Start{
		Container: s.container,
		Seed:      seed,
		Time:      time.Now().UnixNano(),
	}})
}

// run notes that the process runs and sends the signals that came before.
func (s *session) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = true
	for _, sig := range s.pending {
		s.send(sig)
	}
	s.pending = nil
}

type reply struct {
	m   proto.Message
	err error
}

// receive passes the guest's frames on, one at a time.
func receive(c net.Conn, replies chan<- reply, quit <-chan struct{}) {
	for {
		var r reply
		r.err = proto.ReadFrame(c, &r.m)
		select {
		case replies <- r:
		case <-quit:
			return
		}
		if r.err != nil || r.m.Exit != nil {
			return
		}
	}
}

// drain waits until stdout and stderr have been written to the end, however
// slow their readers are. The guest keeps its VM up until then; one that stops
// before has broken its streams off.
func (s *session) drain(ctx context.Context, exit proto.Exit, ended <-chan error) error {
	if exit.Error != "" {
		return nil // it never opened its streams
	}
	written := make(chan struct{})
	go func() { // ends with the streams: at the latest when close closes them
		s.outputs.Wait()
		close(written)
	}()
	select {
	case <-written:
		return nil
	case err := <-ended:
		return stopped(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gone explains the end of the control connection, which comes with or just
// before the end of the VM.
func (s *session) gone(ended <-chan error, err error) error {
	select {
	case vmErr := <-ended:
		return stopped(vmErr)
	case <-time.After(time.Second):
		return fmt.Errorf("the guest broke off: %w", err)
	}
}

// stopped explains a VM that ended before its container did.
func stopped(err error) error {
	if err != nil {
		return err
	}
	return errors.New("the guest stopped before the container's end")
}
