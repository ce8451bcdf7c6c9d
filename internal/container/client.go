package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// Client connects a command with a process whose streams come to it.
type Client struct {
	// Stdin is sent to the process; nil: nothing is. ErrDetached from it ends the
	// conversation, not the process.
	Stdin io.Reader
	// Stdout and Stderr get its output; that of a terminal goes to Stdout.
	Stdout, Stderr io.Writer
	// Signals are passed on. A second SIGINT within a second gives up.
	Signals <-chan os.Signal
	// Resizes are the terminal's sizes; nil: there is none. When a terminal goes
	// away (SIGHUP), so does the conversation.
	Resizes <-chan proto.Size
}

// ErrDetached says that the user left a process that goes on.
var ErrDetached = errors.New("detached")

// Exec runs a further process in the container, and says how it ended. If it is
// detached, it is left to itself as soon as it runs.
func (c *Container) Exec(ctx context.Context, x control.Exec, client Client) (control.Exit, error) {
	t, err := c.dial(ctx)
	if err != nil {
		return control.Exit{}, err
	}
	defer t.close()
	if err := t.tell(control.Message{Exec: &x}); err != nil {
		return control.Exit{}, err
	}
	return c.converse(ctx, t, client, x.Detached)
}

// Attach connects to the container's first process, and says how it ended.
func (c *Container) Attach(ctx context.Context, client Client) (control.Exit, error) {
	t, err := c.dial(ctx)
	if err != nil {
		return control.Exit{}, err
	}
	defer t.close()
	_ = t.conn.Send(control.Message{Attach: &control.Attach{Stdin: client.Stdin != nil}})
	return c.converse(ctx, t, client, false)
}

// converse carries a process's streams, signals and sizes until it has ended and
// all its output has been moved, however slow the reader is.
func (c *Container) converse(ctx context.Context, t *talk, client Client, detached bool) (control.Exit, error) {
	f := carrier{client: client, left: make(chan struct{}), unread: make(chan struct{})}
	defer f.close()
	var interrupted time.Time
	var exit control.Exit
	var end error
	var moved <-chan struct{} // not before the process has ended
	messages := t.messages
	for {
		select {
		case <-moved:
			return exit, end
		case <-ctx.Done():
			return control.Exit{}, context.Cause(ctx)
		case m, open := <-messages:
			switch {
			case !open && ctx.Err() != nil:
				return control.Exit{}, context.Cause(ctx)
			case !open:
				return control.Exit{}, fmt.Errorf("container %s: %w", c.Label(), errSilent)
			case m.Started != nil && detached:
				return control.Exit{}, nil
			case m.Started != nil:
				if err := f.carry(m.Started.Streams, m.files); err != nil {
					return control.Exit{}, err
				}
			default:
				exit, end = c.lastWord(m.Message)
				messages, moved = nil, f.moved()
			}
		case sig := <-client.Signals:
			if sig == os.Interrupt && time.Since(interrupted) < interruptedTwice {
				return control.Exit{Code: codeInterrupted, Error: "given up after a second Ctrl-C"}, nil
			}
			if sig == syscall.SIGHUP && client.Resizes != nil {
				return control.Exit{Code: codeHungUp, Error: "the terminal is gone"}, nil
			}
			if sig == os.Interrupt {
				interrupted = time.Now()
			}
			if s, ok := sig.(syscall.Signal); ok {
				_ = t.conn.Send(control.Message{Signal: &control.Signal{Signo: int(s)}})
			}
		case size := <-client.Resizes:
			_ = t.conn.Send(control.Message{Resize: &size})
		case <-f.unread:
			return control.Exit{Code: codeUnread, Error: "nobody reads what the terminal shows"}, nil
		case <-f.left:
			_ = t.conn.Send(control.Message{Detach: &control.Detach{}})
			return control.Exit{}, ErrDetached
		}
	}
}

// lastWord is what a mvm-vmm's last message says.
func (c *Container) lastWord(m control.Message) (control.Exit, error) {
	switch {
	case m.Exit != nil:
		return checked(*m.Exit), nil
	case m.Failed != nil:
		return control.Exit{}, failure(*m.Failed)
	case m.Done != nil:
		return control.Exit{}, fmt.Errorf("container %s: %s", c.Label(), printable(m.Done.Error))
	}
	return control.Exit{}, fmt.Errorf("container %s: its mvm-vmm said what it should not", c.Label())
}

// carrier moves bytes between a client and a process's streams.
type carrier struct {
	client  Client
	left    chan struct{} // closed when the user detaches
	unread  chan struct{} // closed when nobody reads the terminal's output any more
	conns   []net.Conn
	outputs sync.WaitGroup
}

// carry begins to move bytes. files are the streams of these names.
func (f *carrier) carry(names []string, files []*os.File) error {
	if len(names) != len(files) {
		closeFiles(files)
		return fmt.Errorf("%d streams came for %d names", len(files), len(names))
	}
	for i, name := range names {
		conn, err := control.Socket(files[i])
		if err != nil {
			return fmt.Errorf("stream %q: %w", name, err)
		}
		f.conns = append(f.conns, conn)
		switch name {
		case proto.TTY:
			f.output(&shown{Writer: f.client.Stdout, unread: f.unread}, conn)
			f.input(conn)
		case proto.Stdin:
			f.input(conn)
		case proto.Stdout:
			f.output(f.client.Stdout, conn)
		case proto.Stderr:
			f.output(f.client.Stderr, conn)
		}
	}
	return nil
}

// output ends with the stream. When the reader has gone, the process is told.
func (f *carrier) output(w io.Writer, conn net.Conn) {
	f.outputs.Go(func() {
		_, _ = io.Copy(w, conn)
		_ = conn.Close()
	})
}

// shown is where a terminal's output goes. A pipe's process is told that nobody
// reads; one at a terminal has no way to hear of it.
type shown struct {
	io.Writer
	unread chan struct{}
	failed bool
}

func (s *shown) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil && !s.failed {
		s.failed = true
		close(s.unread)
	}
	return n, err
}

// input ends with the client's stdin. A read of a terminal cannot be ended: it
// ends with mvm.
func (f *carrier) input(conn *net.UnixConn) {
	if f.client.Stdin == nil {
		return
	}
	go func() {
		_, err := io.Copy(conn, f.client.Stdin)
		if errors.Is(err, ErrDetached) {
			close(f.left)
			return
		}
		_ = conn.CloseWrite()
	}()
}

// moved is closed when all output has been moved. The guest ends the streams of a
// process that has ended, even if others hold them.
func (f *carrier) moved() <-chan struct{} {
	moved := make(chan struct{})
	go func() { // ends with the streams: at the latest by close
		f.outputs.Wait()
		close(moved)
	}()
	return moved
}

func (f *carrier) close() {
	for _, c := range f.conns {
		_ = c.Close()
	}
}
