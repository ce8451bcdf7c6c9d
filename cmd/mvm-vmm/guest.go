package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

const (
	// firstFrameTimeout bounds how long a new connection may say nothing: only the
	// guest's own connections wait for it, and a guest is slow where a thousand
	// commands want the processors.
	firstFrameTimeout = helloTimeout
	// maxStrangers is how many connections may be saying nothing at once.
	maxStrangers = 16
	// maxUnanswered is how many requests a guest may owe a reply to, and
	// sendTimeout how long it may take to receive one: it reads them all the time.
	maxUnanswered = 1024
	sendTimeout   = 30 * time.Second
)

// errOver is what is asked of a guest that is gone.
var errOver = errors.New("the container is not running")

// guest is the host's side of guestinit/proto with one guest.
type guest struct {
	container string
	ln        net.Listener
	hello     chan struct{} // closed when the guest said Hello
	fail      chan error    // why the guest is not to be trusted any more; the first is kept
	over      chan struct{} // closed by close

	sending sync.Mutex // held while requests are written

	mu        sync.Mutex
	control   net.Conn // nil until Hello
	last      uint64   // the number of the last request
	replies   map[uint64]chan proto.Reply
	processes map[string]*process
	forgotten []string // the last processes that never ran; their streams may still arrive
}

// process is one of the container's, from its Spawn on.
type process struct {
	id      string
	streams map[string]func(net.Conn) // those still to be opened, by name
	exited  chan proto.Exited         // has room for the one there is
	ended   bool                      // its Exited has come
}

// maxForgotten is how many processes that never ran are remembered.
const maxForgotten = 64

// newGuest listens where the guest's connections to proto.Port arrive.
func newGuest(spec control.Spec) (*guest, error) {
	path := fmt.Sprintf("%s_%d", spec.VM.Vsock, proto.Port)
	removeStale(path)
	removeStale(spec.VM.Vsock)
	// Not net.Listen, which would bring in the resolver: 200 KiB of code.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the guest: %w", err)
	}
	g := &guest{
		container: spec.Container.ID,
		ln:        ln,
		hello:     make(chan struct{}),
		fail:      make(chan error, 1),
		over:      make(chan struct{}),
		replies:   map[uint64]chan proto.Reply{},
		processes: map[string]*process{},
	}
	go g.accept() // ends when the listener closes
	return g, nil
}

// close ends the conversation: what is asked of the guest returns errOver.
func (g *guest) close() {
	close(g.over)
	g.ln.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control != nil {
		g.control.Close()
	}
}

// distrust ends the container for what its guest did.
func (g *guest) distrust(err error) {
	select {
	case g.fail <- err:
	default: // there is one already
	}
}

// accept takes the guest's connections.
func (g *guest) accept() {
	strangers := make(chan struct{}, maxStrangers)
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		strangers <- struct{}{}
		go func() { // ends by firstFrameTimeout at the latest, or with the stream
			take, err := g.greet(c)
			<-strangers
			switch {
			case err == nil:
				take(c)
			case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
				// It is slow, or has given up connecting, which Linux does after two
				// seconds of a host that is slow: guestinit tries again.
				c.Close()
			default:
				c.Close()
				g.distrust(err)
			}
		}()
	}
}

// greet reads a connection's first frame, and returns what is to be done with it.
func (g *guest) greet(c net.Conn) (take func(net.Conn), err error) {
	if err := c.SetReadDeadline(time.Now().Add(firstFrameTimeout)); err != nil {
		return nil, err
	}
	m, err := proto.ReadMessage(c)
	if err != nil {
		return nil, fmt.Errorf("the guest's first frame: %w", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	switch {
	case m.Hello != nil:
		return g.receive, g.greeted(c, *m.Hello)
	case m.Stream != nil:
		return g.expected(*m.Stream)
	}
	return nil, errors.New("the guest's first frame is neither Hello nor Stream")
}

func (g *guest) greeted(c net.Conn, h proto.Hello) error {
	if h.Version != proto.Version {
		return fmt.Errorf("the guest speaks protocol version %d, this mvm %d: use the initramfs built with it", h.Version, proto.Version)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control != nil {
		return errors.New("the guest said Hello twice")
	}
	g.control = c
	close(g.hello)
	return nil
}

// expected takes a stream off the list of those that a process is to open. What
// the guest says on one connection may be heard before what it said earlier on
// another: a stream may come after the end of its process.
func (g *guest) expected(st proto.Stream) (func(net.Conn), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.processes[st.Process]
	if p == nil && st.Container == g.container && slices.Contains(g.forgotten, st.Process) {
		return closeConn, nil
	}
	if p == nil || st.Container != g.container || p.streams[st.Name] == nil {
		return nil, fmt.Errorf("the guest opened a stream %q of process %q of container %q, which it was not asked for", st.Name, st.Process, st.Container)
	}
	take := p.streams[st.Name]
	delete(p.streams, st.Name)
	g.tidy(p)
	return take, nil
}

func closeConn(c net.Conn) { c.Close() }

// add makes a process known, before the guest hears of it.
func (g *guest) add(id string, streams map[string]func(net.Conn)) *process {
	p := &process{id: id, streams: streams, exited: make(chan proto.Exited, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.processes[id] = p
	return p
}

// forget takes a process away that never ran.
func (g *guest) forget(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.processes, p.id)
	g.forgotten = append(g.forgotten, p.id)
	g.forgotten = g.forgotten[max(0, len(g.forgotten)-maxForgotten):]
}

// abandon leaves a process without those of its streams that have not arrived.
func (g *guest) abandon(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range p.streams {
		p.streams[name] = closeConn
	}
}

// tidy takes a process away whose end and streams have all come. A short one's end
// may come before its streams: each is a connection of its own. It needs mu.
func (g *guest) tidy(p *process) {
	if p.ended && len(p.streams) == 0 {
		delete(g.processes, p.id)
	}
}

// send sends requests in one write and returns where their replies will come.
func (g *guest) send(requests ...proto.Request) ([]chan proto.Reply, error) {
	g.sending.Lock()
	defer g.sending.Unlock()
	replies, err := g.expectReplies(requests)
	if err != nil {
		return nil, err
	}
	// mu is free meanwhile: a guest that does not read holds up nobody but senders.
	_ = g.control.SetWriteDeadline(time.Now().Add(sendTimeout)) // it is a socket
	if err := proto.WriteRequests(g.control, requests...); err != nil {
		g.expectNone(requests)
		if broken := (*net.OpError)(nil); errors.As(err, &broken) {
			g.distrust(fmt.Errorf("the guest takes no requests: %w", err))
		}
		return nil, err
	}
	return replies, nil
}

// expectReplies numbers requests, and makes room for their replies.
func (g *guest) expectReplies(requests []proto.Request) ([]chan proto.Reply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.replies)+len(requests) > maxUnanswered {
		return nil, fmt.Errorf("the guest has not answered %d requests: it takes no more until it has", len(g.replies))
	}
	replies := make([]chan proto.Reply, len(requests))
	for i := range requests {
		g.last++
		requests[i].ID = g.last
		replies[i] = make(chan proto.Reply, 1)
		g.replies[g.last] = replies[i]
	}
	return replies, nil
}

func (g *guest) expectNone(requests []proto.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range requests {
		delete(g.replies, r.ID)
	}
}

// ask sends a request and waits for the guest's reply.
func (g *guest) ask(r proto.Request) (proto.Reply, error) {
	replies, err := g.send(r)
	if err != nil {
		return proto.Reply{}, err
	}
	return g.await(replies[0])
}

func (g *guest) await(reply <-chan proto.Reply) (proto.Reply, error) {
	select {
	case r := <-reply:
		return r, nil
	case <-g.over:
		return proto.Reply{}, errOver
	}
}

// receive takes what the guest says, until the connection ends.
func (g *guest) receive(c net.Conn) {
	for {
		m, err := proto.ReadMessage(c)
		if err == nil {
			err = g.hear(m)
		}
		if err != nil {
			g.distrust(fmt.Errorf("the guest broke off: %w", err))
			return
		}
	}
}

// hear takes one message.
func (g *guest) hear(m proto.Message) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case m.Reply != nil:
		reply := g.replies[m.Reply.ID]
		if reply == nil {
			return fmt.Errorf("it answered request %d, which there is not", m.Reply.ID)
		}
		delete(g.replies, m.Reply.ID)
		reply <- *m.Reply
	case m.Exited != nil:
		p := g.processes[m.Exited.Process]
		if p == nil || p.ended || m.Exited.Container != g.container {
			return errors.New("it reported the end of a process that does not run")
		}
		p.ended = true
		g.tidy(p)
		p.exited <- *m.Exited
	}
	return nil
}
