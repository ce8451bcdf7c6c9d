package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/logfile"
	"github.com/mvm-project/mvm/ratelimit"
)

// outlet is where the streams of the container's first process go: to mvm-vmm's
// own stdout and stderr if those are the user's, to the log, and to the clients
// that have attached. It outlives a restart of the process.
type outlet struct {
	direct  bool               // mvm-vmm's own three are the user's
	log     *logfile.Writer    // nil: none
	limiter *ratelimit.Limiter // of what goes to the log
	once    bool               // the end of a client's stdin is the process's; not with a terminal

	mu      sync.Mutex
	clients map[*client]bool
	stdin   net.Conn   // the process's, or its terminal; nil: none
	ready   *sync.Cond // stdin has come, or a client has left
}

// client is an attached command: a socket for each of the streams.
type client struct {
	outputs map[string]net.Conn
	stdin   net.Conn // nil: it has none; a terminal's is its output's too
	// owner is the command that the container was started by: it is waited for.
	owner bool
}

func newOutlet(direct bool) *outlet {
	o := &outlet{direct: direct, clients: map[*client]bool{}}
	o.ready = sync.NewCond(&o.mu)
	return o
}

// streams is what is to be done with the streams of process p; open counts those
// of its output, each until its end. When over is closed, the process has ended:
// what is left of its output is not held back.
func (o *outlet) streams(p proto.Process, open *sync.WaitGroup, over <-chan struct{}) map[string]func(net.Conn) {
	m := map[string]func(net.Conn){}
	if p.TTY != nil {
		open.Add(1)
		m[proto.TTY] = func(c net.Conn) {
			o.setStdin(c)
			defer open.Done()
			o.output(c, proto.Stdout, logfile.Stdout, nil, over)
		}
		return m
	}
	open.Add(2)
	m[proto.Stdout] = func(c net.Conn) {
		defer open.Done()
		o.output(c, proto.Stdout, logfile.Stdout, o.own(os.Stdout), over)
	}
	m[proto.Stderr] = func(c net.Conn) {
		defer open.Done()
		o.output(c, proto.Stderr, logfile.Stderr, o.own(os.Stderr), over)
	}
	if p.Stdin {
		m[proto.Stdin] = o.input
	}
	return m
}

func (o *outlet) own(f *os.File) *os.File {
	if o.direct {
		return f
	}
	return nil
}

// outputBuffer is how much is moved at once: what the guest sends in one packet.
const outputBuffer = 64 << 10

// output carries a stream to its end. When the user's reader has gone, the
// guest's end is closed, which the process sees as a closed pipe.
func (o *outlet) output(c net.Conn, name string, stream logfile.Stream, own *os.File, over <-chan struct{}) {
	defer c.Close()
	if own != nil && o.log == nil && o.alone() {
		_, _ = io.Copy(own, c)
		return
	}
	buf := make([]byte, outputBuffer)
	for {
		n, err := c.Read(buf)
		if n > 0 && own != nil {
			if _, err := own.Write(buf[:n]); err != nil {
				return
			}
		}
		if n > 0 {
			o.keep(stream, buf[:n], over)
			o.spread(name, buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// alone says that nobody has attached; in the foreground without a log nobody
// can (see serve).
func (o *outlet) alone() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.clients) == 0
}

// patience is how long an attached client may leave its stream unread, with the
// socket's buffer full, before it is cut off: others wait for it that long.
const patience = 10 * time.Second

// keep gives p to the log, as fast as the log's limit allows: until then nothing
// more is read, and the process waits with its output.
func (o *outlet) keep(stream logfile.Stream, p []byte, over <-chan struct{}) {
	if o.log != nil {
		o.limiter.Wait(uint64(len(p)), over)
		o.log.Write(stream, p)
	}
}

// spread gives p to the clients. One that is gone is dropped.
func (o *outlet) spread(name string, p []byte) {
	o.mu.Lock()
	var clients []*client
	for c := range o.clients {
		clients = append(clients, c)
	}
	o.mu.Unlock()
	for _, c := range clients {
		conn := c.outputs[name]
		if conn == nil {
			continue
		}
		if !c.owner {
			_ = conn.SetWriteDeadline(time.Now().Add(patience)) // it is a socket
		}
		if _, err := conn.Write(p); err != nil {
			o.remove(c)
		}
	}
}

// add attaches a client, whose stdin, if it has one, is given to the process.
func (o *outlet) add(c *client) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.clients) >= maxAttached {
		return fmt.Errorf("%d commands are attached: no more can be", maxAttached)
	}
	o.clients[c] = true
	if c.stdin != nil {
		go o.feed(c) // ends when the client closes its end, or is removed
	}
	return nil
}

// remove detaches a client, and closes its streams.
func (o *outlet) remove(c *client) {
	o.mu.Lock()
	delete(o.clients, c)
	o.ready.Broadcast()
	o.mu.Unlock()
	c.close()
}

func (c *client) close() {
	for _, conn := range c.outputs {
		_ = conn.Close()
	}
	if c.stdin != nil {
		_ = c.stdin.Close()
	}
}

// removeAll detaches every client: the process has ended.
func (o *outlet) removeAll() {
	o.mu.Lock()
	clients := o.clients
	o.clients = map[*client]bool{}
	stdin := o.stdin
	o.stdin = nil
	o.ready.Broadcast()
	o.mu.Unlock()
	for c := range clients {
		c.close()
	}
	if stdin != nil {
		_ = stdin.Close()
	}
}

// input gives the process its stdin: the user's, or what clients send.
func (o *outlet) input(c net.Conn) {
	if !o.direct {
		o.setStdin(c)
		return
	}
	_, _ = io.Copy(c, os.Stdin)
	closeWrite(c) // when the guest has stopped reading there is nobody to tell
}

func (o *outlet) setStdin(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stdin = c
	o.ready.Broadcast()
}

// feed copies what a client sends to the process's stdin.
func (o *outlet) feed(c *client) {
	buf := make([]byte, outputBuffer/4)
	for {
		n, err := c.stdin.Read(buf)
		to := o.awaitStdin(c)
		if to == nil {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if o.once && errors.Is(err, io.EOF) { // not that it has left
				closeWrite(to)
			}
			return
		}
	}
}

// awaitStdin is the process's stdin, as soon as there is one; nil if c leaves before.
func (o *outlet) awaitStdin(c *client) net.Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.stdin == nil && o.clients[c] {
		o.ready.Wait()
	}
	return o.stdin
}
