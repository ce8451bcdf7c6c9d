package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/internal/reaper"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// launch starts p's program, or a helper's, while p's streams are being connected
// to the host.
func (s *session) launch(p *process, spec proto.Process) (*launch.Launch, launch.Started, error) {
	c := p.container
	group, err := c.group.Folder()
	if err != nil {
		return nil, launch.Started{}, err
	}
	defer func() { _ = group.Close() }()
	stdio, err := s.makeStreams(p, spec)
	if err != nil {
		return nil, launch.Started{}, err
	}
	defer stdio.close()
	o := launch.Order{Container: c.Container, Process: spec, Cgroup: group, Stdio: stdio, Self: s.self}
	if p.first {
		o.Root = c.root.mergedDir()
	} else {
		o.First = p.joins
	}
	type result struct {
		*launch.Launch
		launch.Started
		error
	}
	done := make(chan result, 1)
	go func() { // ends at once; never unlocked, so that the thread ends with it
		runtime.LockOSThread()
		l, err := launch.Prepare(o)
		if err != nil {
			done <- result{error: err}
			return
		}
		started, err := s.fork(p, l)
		l.Close()
		done <- result{l, started, explainFork(err, c)}
	}()
	r := <-done
	return r.Launch, r.Started, r.error
}

// fork makes the process. Its container may be ended meanwhile, which kills what
// it finds: then this does.
func (s *session) fork(p *process, l *launch.Launch) (started launch.Started, err error) {
	if err := s.open(p.container); err != nil {
		return started, err
	}
	_, err = s.reaper.Start(func() (int, error) {
		started, err = l.Start()
		return started.PID, err
	}, func(e reaper.Ending) { p.ended <- e })
	if err == nil && s.ending(p.container) {
		_ = s.reaper.Kill(started.PID, unix.SIGKILL)
	}
	return started, err
}

// ending says whether what runs in a container is being killed.
func (s *session) ending(c *container) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.dying
}

// open says whether processes may be started in a container.
func (s *session) open(c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.dying:
		return proto.Errorf(proto.NoContainer, "container %s has ended", c.ID)
	case c.frozen:
		return proto.Errorf(proto.Invalid, "container %s is frozen: thaw it first", c.ID)
	}
	return nil
}

// explainFork names the limit that a process's start ran into.
func explainFork(err error, c *container) error {
	if errors.Is(err, unix.EAGAIN) && c.Limits.PIDs > 0 {
		return fmt.Errorf("the container has as many processes as its limit of %d lets it: %w", c.Limits.PIDs, err)
	}
	return err
}

// joinable says whether a container can have a second process: only a process
// with one thread, which PID 1 is not, may join a user or time namespace.
func joinable(c proto.Container) error {
	for _, alone := range []proto.Namespace{proto.UserNamespace, proto.TimeNamespace} {
		if c.Own(alone) {
			return proto.Errorf(proto.Invalid, "a container with a %s namespace of its own runs one process", alone)
		}
	}
	return nil
}

// openSelf opens this program, for launch.
func openSelf() (*os.File, error) {
	f, err := os.Open("/init")
	if err != nil {
		return nil, fmt.Errorf("open guestinit's own program: %w", err)
	}
	return f, nil
}
