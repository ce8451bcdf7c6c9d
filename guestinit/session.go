package main

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// conn is a connection to the host: a vsock stream.
type conn interface {
	io.ReadWriteCloser
	CloseRead() error
	CloseWrite() error
}

// session is the conversation with the host about one container.
type session struct {
	control conn
	dial    func(proto.Message) (conn, error)
	exe     string // this program

	mu sync.Mutex // held while a frame is written
}

// send reports to the host. A host that is gone takes the machine with it.
func (s *session) send(m proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.WriteFrame(s.control, m)
}

// serve runs the container the host asks for, and returns when the host has
// heard how it ended.
func (s *session) serve() error {
	m, err := proto.ReadMessage(s.control)
	if err != nil {
		return fmt.Errorf("hear from the host: %w", err)
	}
	if m.Start == nil {
		return errors.New("the host's first message is no Start")
	}
	exit := s.run(*m.Start)
	if err := s.send(proto.Message{Exit: &exit}); err != nil {
		return fmt.Errorf("report the exit: %w", err)
	}
	// The host closes when it has all the output, which a reset would cut off.
	_, _ = io.Copy(io.Discard, s.control)
	return nil
}

// run sets the machine up and carries the container to its end.
func (s *session) run(start proto.Start) proto.Exit {
	if err := setUp(start); err != nil {
		return failed(err)
	}
	p, err := s.spawn(start.Container)
	if err != nil {
		return failed(err)
	}
	if exit := p.started(); exit != nil {
		return *exit
	}
	if err := s.send(proto.Message{Started: &proto.Started{PID: p.pid}}); err != nil {
		return failed(err)
	}
	go s.signals(p) // ends when the host closes the connection
	status, err := reap(p.pid)
	if err != nil {
		return failed(err)
	}
	p.streams.Wait()
	if err := unmountRoot(start.Container.Root); err != nil {
		return failed(err)
	}
	return exitOf(status)
}

// setUp prepares the machine for the container.
func setUp(start proto.Start) error {
	return errors.Join(
		seedRandom(start.Seed),
		setClock(start.Time),
		loopbackUp(),
		mountRoot(start.Container.Root),
	)
}

// signals passes the host's signals on.
func (s *session) signals(p *process) {
	for {
		m, err := proto.ReadMessage(s.control)
		if err != nil {
			return
		}
		if m.Signal != nil {
			_ = unix.Kill(p.pid, unix.Signal(m.Signal.Signo)) // it may just have ended
		}
	}
}

// reap waits for every process that ends, of which PID 1 is the last parent,
// until pid has.
func reap(pid int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for process %d: %w", pid, err)
		case got == pid:
			return status, nil
		}
	}
}

// signalBase is what a shell adds to a signal's number to make an exit status.
const signalBase = 128

// exitOf is the report of a process that has ended.
func exitOf(status unix.WaitStatus) proto.Exit {
	if status.Signaled() {
		return proto.Exit{Code: signalBase + int(status.Signal()), Signal: int(status.Signal())}
	}
	return proto.Exit{Code: status.ExitStatus()}
}

// Exit codes of a process that was never started, as docker gives them.
const (
	codeFailed        = 125
	codeNotExecutable = 126
	codeNotFound      = 127
)

func failed(err error) proto.Exit {
	return proto.Exit{Code: codeFailed, Error: err.Error()}
}
