package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// maxExecs is how many execs may be under way at once: each takes up to three of
// the vsock device's connections, for a little longer than it runs.
const maxExecs = 40

// execPatience is how long one more waits while none of the others ends.
const execPatience = 30 * time.Second

// streamPatience is how long a process's streams may take to arrive after the
// guest said that it runs.
const streamPatience = 30 * time.Second

// exec starts a process for a command, and gives the command its streams.
func (v *machine) exec(conn *control.Conn, x control.Exec) {
	s, err := v.running()
	if err != nil {
		done(conn, err)
		return
	}
	if err := s.awaitTurn(); err != nil {
		done(conn, err)
		return
	}
	defer func() { <-s.execs }()
	names := streamNames(x)
	arrived := make(chan arrival, len(names)) // has room for all
	expect := map[string]func(net.Conn){}
	for i, name := range names {
		expect[name] = func(c net.Conn) { arrived <- arrival{i, c} }
	}
	p := s.add(s.newID(), expect)
	reply, err := s.ask(proto.Request{Spawn: &proto.Spawn{Container: s.container, Process: p.id, Spec: x.Process}})
	if err == nil && reply.Error == nil && reply.Spawned == nil {
		err = errors.New("the guest did not say whether the process runs")
	}
	if err != nil || reply.Error != nil {
		s.forget(p)
		refuse(conn, arrived, err, reply.Error)
		return
	}
	files, err := s.collect(arrived, len(names))
	if err != nil {
		s.abandon(p)
		closeArrived(arrived)
		s.kill(p.id, int(unix.SIGKILL))
		done(conn, err)
		return
	}
	err = conn.Send(control.Message{Started: &control.Started{PID: reply.Spawned.PID, Streams: names}}, files...)
	closeAll(files)
	if err == nil && !x.Detached {
		s.follow(conn, p, x.Process.TTY != nil)
	}
}

// awaitTurn waits until there is room for one more exec. However many wait, each has
// its turn, as long as some of those that run end.
func (s *session) awaitTurn() error {
	for {
		turns := s.turns.Load()
		select {
		case s.execs <- struct{}{}:
			s.turns.Add(1)
			return nil
		case <-s.over:
			return errOver
		case <-time.After(execPatience):
			if s.turns.Load() == turns {
				return fmt.Errorf("%d processes were started with exec and still run: no more can", maxExecs)
			}
		}
	}
}

// arrival is a stream the guest has opened.
type arrival struct {
	index int
	conn  net.Conn
}

func streamNames(x control.Exec) []string {
	switch {
	case x.Detached:
		return nil
	case x.Process.TTY != nil:
		return []string{proto.TTY}
	case x.Process.Stdin:
		return []string{proto.Stdin, proto.Stdout, proto.Stderr}
	}
	return []string{proto.Stdout, proto.Stderr}
}

// refuse says why a process does not run.
func refuse(conn *control.Conn, arrived chan arrival, err error, e *proto.Error) {
	closeArrived(arrived)
	if err != nil {
		done(conn, err)
		return
	}
	_ = conn.Send(control.Message{Exit: &control.Exit{Code: e.Status(), Error: e.Text}})
}

func closeArrived(arrived <-chan arrival) {
	for range len(arrived) {
		(<-arrived).conn.Close()
	}
}

func (s *session) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	return "x" + strconv.Itoa(s.nextID)
}

// collect waits for n streams, and returns them as files, in order.
func (s *session) collect(arrived <-chan arrival, n int) ([]*os.File, error) {
	files := make([]*os.File, n)
	timeout := time.NewTimer(streamPatience)
	defer timeout.Stop()
	for range n {
		select {
		case a := <-arrived:
			f, err := a.conn.(*net.UnixConn).File() // the listener is a Unix socket
			a.conn.Close()
			if err != nil {
				closeAll(files)
				return nil, err
			}
			files[a.index] = f
		case <-s.over:
			closeAll(files)
			return nil, errOver
		case <-timeout.C:
			closeAll(files)
			return nil, errors.New("the guest did not open the process's streams")
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// follow passes a command's signals to its process, and tells it how that ended.
// A terminal whose command is gone is hung up.
func (s *session) follow(conn *control.Conn, p *process, tty bool) {
	go func() { // ends when the command closes: at the latest when exec returns
		for {
			m, err := conn.Receive()
			switch {
			case err != nil && tty:
				s.kill(p.id, int(unix.SIGHUP))
				return
			case err != nil:
				return
			case m.Signal != nil:
				s.kill(p.id, m.Signal.Signo)
			case m.Resize != nil:
				s.resize(p.id, *m.Resize)
			}
		}
	}()
	select {
	case e := <-p.exited:
		_ = conn.Send(control.Message{Exit: &control.Exit{Code: e.Status(), Signal: e.Signal, OOMKilled: e.OOMKilled}})
	case <-s.settled:
		// docker: an exec that its container's end took along was killed.
		_ = conn.Send(control.Message{Exit: &control.Exit{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}})
	}
}

// resize tells a process's terminal its size. One that is gone needs none.
func (s *session) resize(process string, size proto.Size) {
	_, _ = s.send(proto.Request{Resize: &proto.Resize{Container: s.container, Process: process, Size: size}})
}
