package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/internal/reaper"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// process is a process that the host asked for, as PID 1 sees it.
type process struct {
	container *container
	id        string
	first     bool // of its container
	joins     int  // if it is not: a pidfd of the first, until it is started
	archive   bool // it is a Go program as long as it runs
	init      bool // it is one until it has started its program
	streams   []*stream
	ended     chan reaper.Ending

	// Set, under session.mu, once it has begun.
	pid, pidfd int
	terminal   *os.File // the master; nil if there is none
}

// spawn starts a process; a goroutine replies when it runs or has failed to.
func (s *session) spawn(id uint64, m proto.Spawn) {
	p, err := s.begin(m)
	if err != nil {
		s.reply(id, proto.Reply{}, err)
		return
	}
	go s.watch(id, p, m.Spec) // ends with the process
}

// begin gives a process its place in the container.
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
	case c.first != nil && c.first.pid == 0:
		return nil, proto.Errorf(proto.Invalid, "container %s is being started", m.Container)
	}
	p := &process{
		container: c, id: m.Process, first: c.first == nil, ended: make(chan reaper.Ending, 1),
		archive: m.Spec.Archive != nil, init: m.Spec.Init && m.Spec.Archive == nil,
	}
	if err := c.place(p); err != nil {
		return nil, err
	}
	c.processes[m.Process] = p
	return p, nil
}

// place makes p the container's first process or another one. It needs session.mu.
func (c *container) place(p *process) error {
	if p.first {
		if err := c.help(p, 1); err != nil {
			return err
		}
		c.first = p
		return nil
	}
	if err := joinable(c.Container); err != nil {
		return err
	}
	// The first may end, and its pidfd with it, while this one is being prepared.
	fd, err := unix.FcntlInt(uintptr(c.first.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := c.help(p, 1); err != nil {
		_ = unix.Close(fd)
		return err
	}
	p.joins = fd
	c.others.Add(1)
	return nil
}

// watch carries a process to its end.
func (s *session) watch(id uint64, p *process, spec proto.Process) {
	l, started, err := s.launch(p, spec)
	if !p.first {
		_ = unix.Close(p.joins)
	}
	if err == nil {
		err = s.follow(p, l, started)
	} else {
		p.disconnect()
	}
	if err != nil {
		s.forget(p)
		s.reply(id, proto.Reply{}, err)
		return
	}
	s.reply(id, proto.Reply{Spawned: &proto.Spawned{PID: started.Inner, VMPID: started.PID}}, nil)
	if p.first {
		go s.watchOOM(p.container) // ends with the container
	}
	e := <-p.ended
	p.linger()
	s.exited(p, e)
}

// follow connects what has been started, and notes that it has begun. If that
// fails it is no more.
func (s *session) follow(p *process, l *launch.Launch, started launch.Started) error {
	err := l.Verdict()
	if err == nil {
		err = p.connect(l.Terminal)
	}
	if err != nil {
		p.disconnect()
		_ = l.Terminal.Close()
	} else {
		err = s.began(p, l, started)
	}
	if err != nil {
		_ = s.reaper.Kill(started.PID, unix.SIGKILL) // if it has not ended by itself
		<-p.ended
		_ = unix.Close(started.PIDFD)
	}
	return err
}

// began notes that a process has begun.
func (s *session) began(p *process, l *launch.Launch, started launch.Started) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.init {
		if err := p.container.help(p, -1); err != nil {
			return err
		}
		p.init = false
	}
	p.pid, p.pidfd, p.terminal = started.PID, started.PIDFD, l.Terminal
	return nil
}

// forget undoes a spawn that failed.
func (s *session) forget(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := p.container
	delete(c.processes, p.id)
	_ = c.help(p, -1) // the limit was set before
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
	_ = c.help(p, -1) // the limit was set before
	c.dying = c.dying || p.first
	s.mu.Unlock()
	if !p.first {
		defer c.others.Done()
	} else if err := s.end(c); err != nil {
		m.Error = err.Error()[:min(len(err.Error()), maxErrorText)]
	}
	s.send(proto.Message{Exited: &m})
}
