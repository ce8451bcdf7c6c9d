package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/reaper"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// process is a process that the host asked for, as PID 1 sees it.
type process struct {
	container *container
	id        string
	pid       int
	pidfd     int
	first     bool // of its container
	socket    *os.File
	streams   []*stream
	terminal  *os.File // the master; nil if there is none
	ended     chan reaper.Ending
}

// spawn starts a process; a goroutine replies when it runs or has failed to.
func (s *session) spawn(id uint64, m proto.Spawn) {
	p, err := s.begin(m)
	if err != nil {
		s.reply(id, proto.Reply{}, err)
		return
	}
	go s.watch(id, p) // ends with the process
}

// begin starts a process's first stage.
func (s *session) begin(m proto.Spawn) (*process, error) {
	if err := proto.CheckID(m.Process); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[m.Container]
	switch {
	case c == nil || c.dying:
		return nil, proto.Errorf(proto.NoContainer, "no container %s", m.Container)
	case c.processes[m.Process] != nil:
		return nil, proto.Errorf(proto.Exists, "process %s is there already", m.Process)
	case c.frozen:
		return nil, proto.Errorf(proto.Invalid, "container %s is frozen: thaw it first", m.Container)
	case c.first != nil && !c.alive:
		return nil, proto.Errorf(proto.Invalid, "container %s is being started", m.Container)
	}
	p := &process{container: c, id: m.Process, first: c.first == nil, ended: make(chan reaper.Ending, 1)}
	if err := c.staging(1); err != nil {
		return nil, err
	}
	if err := s.fork(p, m.Spec); err != nil {
		_ = c.staging(-1) // the limit was set before
		return nil, err
	}
	c.processes[m.Process] = p
	if p.first {
		c.first = p
	} else {
		c.others.Add(1)
	}
	return p, nil
}

// watch carries a process to its end.
func (s *session) watch(id uint64, p *process) {
	report, terminal, err := readReport(p.socket)
	if err == nil {
		err = p.connect(terminal)
	}
	if err != nil {
		_ = s.reaper.Kill(p.pid, unix.SIGKILL) // if it is not that it failed by itself
		p.disconnect()
	}
	err = s.started(p, err)
	if err != nil {
		<-p.ended
		s.forget(p)
		s.reply(id, proto.Reply{}, err)
		return
	}
	s.reply(id, proto.Reply{Spawned: &proto.Spawned{PID: report.PID, VMPID: p.pid}}, nil)
	if p.first {
		go s.watchOOM(p.container) // ends with the container
	}
	s.exited(p, <-p.ended)
}

// started notes that a first stage is done: it has become the process, or err.
func (s *session) started(p *process, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := p.container
	if e := c.staging(-1); e != nil && err == nil {
		err = e
		_ = s.reaper.Kill(p.pid, unix.SIGKILL)
	}
	if err == nil && p.first {
		c.alive = true
	}
	return err
}

// forget undoes a spawn that failed, after the end of its first stage.
func (s *session) forget(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := p.container
	delete(c.processes, p.id)
	_ = unix.Close(p.pidfd)
	switch {
	case !p.first:
		c.others.Done()
	case c.dying: // Delete waits for its end
		go func() { _ = s.end(c) }()
	default:
		c.first = nil
	}
}

// exited reports a process's end; the first's, when its container is gone.
func (s *session) exited(p *process, e reaper.Ending) {
	c := p.container
	m := proto.Exited{
		Container: c.ID, Process: p.id,
		Rusage: proto.Rusage{
			UserMicros: e.Rusage.Utime.Nano() / 1000, SystemMicros: e.Rusage.Stime.Nano() / 1000,
			MaxRSS: e.Rusage.Maxrss << 10,
		},
	}
	if e.Status.Signaled() {
		m.Signal, m.Core = int(e.Status.Signal()), e.Status.CoreDump()
	} else {
		m.Code = e.Status.ExitStatus()
	}
	if kills, err := c.group.OOMKills(); err == nil {
		m.OOMKilled = kills > 0
	}
	s.mu.Lock()
	delete(c.processes, p.id)
	_ = unix.Close(p.pidfd)
	c.dying = c.dying || p.first
	s.mu.Unlock()
	if !p.first {
		defer c.others.Done()
	} else if err := s.end(c); err != nil {
		m.Error = err.Error()[:min(len(err.Error()), maxErrorText)]
	}
	s.send(proto.Message{Exited: &m})
}
