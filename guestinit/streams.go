package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// streamBuffer is how much is moved at once, in bytes: what a pipe holds.
const streamBuffer = 64 << 10

// stream is one of a process's streams, from its pipe or terminal to the host.
// The connection is made while the process is being prepared.
type stream struct {
	name string
	file *os.File // PID 1's end
	conn chan conn
	err  chan error
}

// files are open files to be closed together.
type files []*os.File

func (f files) close() {
	for _, file := range f {
		_ = file.Close()
	}
}

// makeStreams makes what p gets as its standard streams, and begins
// to connect the other ends to the host.
func (s *session) makeStreams(p *process, spec proto.Process) (stdio files, err error) {
	defer func() {
		if err != nil {
			stdio.close()
			for _, st := range p.streams {
				_ = st.file.Close()
			}
			p.streams = nil
		}
	}()
	for _, name := range []string{proto.Stdin, proto.Stdout, proto.Stderr} {
		far, near, err := standardStream(name, spec)
		if err != nil {
			return stdio, fmt.Errorf("make %s: %w", name, err)
		}
		stdio = append(stdio, far)
		if near != nil {
			p.streams = append(p.streams, &stream{name: name, file: near})
		}
	}
	if spec.TTY != nil && !spec.Detach {
		p.streams = []*stream{{name: proto.TTY}}
	}
	for _, st := range p.streams {
		st.conn, st.err = make(chan conn, 1), make(chan error, 1)
		go func() { // ends when the host has accepted or refused, or is gone
			c, err := s.dial(proto.Message{Stream: &proto.Stream{Container: p.container.ID, Process: p.id, Name: st.name}})
			st.conn <- c
			st.err <- err
		}()
	}
	return stdio, nil
}

// standardStream is a pipe, or /dev/null if the host has no part in it.
func standardStream(name string, spec proto.Process) (far, near *os.File, err error) {
	if spec.TTY != nil || spec.Detach || name == proto.Stdin && !spec.Stdin {
		far, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
		return far, nil, err
	}
	r, w, err := os.Pipe()
	if name == proto.Stdin {
		return r, w, err
	}
	return w, r, err
}

// connect lets p's streams flow; terminal is the master of its terminal, if any.
func (p *process) connect(terminal *os.File) error {
	var errs []error
	conns := make([]conn, len(p.streams))
	for i, st := range p.streams {
		conns[i] = <-st.conn
		errs = append(errs, <-st.err)
	}
	if err := errors.Join(errs...); err != nil {
		for i := range p.streams {
			p.streams[i].give(conns[i])
		}
		return err
	}
	if len(p.streams) == 0 && terminal != nil {
		go drain(terminal) // ends when nobody has the terminal open
	}
	for i, st := range p.streams {
		// Each ends when every process has closed its end of the file, or the host
		// the stream.
		switch st.name {
		case proto.Stdin:
			go input(st.file, conns[i])
		case proto.TTY:
			go both(terminal, conns[i])
		default:
			go output(conns[i], st.file)
		}
	}
	return nil
}

// give puts a connection back, for disconnect.
func (st *stream) give(c conn) {
	st.conn <- c
	st.err <- nil
}

// disconnect closes the streams of a process that never ran.
func (p *process) disconnect() {
	for _, st := range p.streams {
		if st.file != nil {
			_ = st.file.Close()
		}
		go func() { // ends when the host has accepted or refused, or is gone
			if c := <-st.conn; c != nil {
				_ = c.Close()
			}
		}()
	}
}

// lingering is how long a process's output may stay open after its end, by others
// that hold it: docker's.
const lingering = 2 * time.Second

// linger bounds how long p's output goes on: p has ended. What p wrote is in a
// pipe, or in the terminal, and is moved however late that is.
func (p *process) linger() {
	for _, st := range p.streams {
		switch st.name {
		case proto.TTY:
			_ = p.terminal.SetReadDeadline(time.Now().Add(lingering)) // it can be polled, as a pipe can
		case proto.Stdout, proto.Stderr:
			_ = st.file.SetReadDeadline(time.Now().Add(lingering))
		}
	}
}

// output moves what the container writes to the host. When the host's reader is
// gone, closing the pipe tells the process.
func output(to conn, from *os.File) {
	_ = moveOutput(to, from) // the end of either is the end of both
	_ = from.Close()
	_ = to.Close()
}

// moveOutput moves a process's output until it ends, or nobody is to wait for more.
func moveOutput(to io.Writer, from *os.File) error {
	err := move(to, from)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	n, err := unread(from)
	if err == nil && n > 0 {
		err = from.SetReadDeadline(time.Time{})
	}
	if err == nil {
		_, err = io.CopyN(to, from, int64(n)) // it is there: no read waits
	}
	return err
}

// unread is how much of a pipe or a terminal waits to be read.
func unread(f *os.File) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		// A poll lets a terminal take in what its driver still has.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		n, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCINQ) // FIONREAD's other name
	})
	return n, errors.Join(err, ioctlErr)
}

// input moves what the host sends to the container. When the process does not
// read any more, the host is told.
func input(to *os.File, from conn) {
	_ = move(to, from) // the end of either is the end of both
	_ = to.Close()
	_ = from.Close()
}

// both moves what is typed to the terminal, and what it shows to the host. The
// end of what is typed leaves the terminal open; a broken connection hangs it up.
func both(terminal *os.File, c conn) {
	typed := make(chan struct{})
	go func() { // ends with c
		defer close(typed)
		if move(terminal, c) != nil {
			_ = terminal.Close()
		}
	}()
	_ = moveOutput(c, terminal) // ends with EIO when nobody has the terminal open
	_ = terminal.Close()
	_ = c.Close()
	<-typed
}

// drain lets a terminal that nobody looks at go on.
func drain(terminal *os.File) {
	_ = move(io.Discard, terminal)
	_ = terminal.Close()
}

// move copies without what io.Copy would try first: neither end has a shortcut.
func move(to io.Writer, from io.Reader) error {
	buf := make([]byte, streamBuffer)
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf)
	return err
}
