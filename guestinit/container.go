package main

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/cgroup"
	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// container is what the host asked for, and what runs in it.
//
//	Create --> no process --first Spawn--> alive --first ends, or Delete--> dying --> gone
//	               ^------- it failed -------'
type container struct {
	proto.Container
	root    root
	volumes volumes
	group   cgroup.Group

	// The rest is guarded by session.mu.
	first     *process // whose end is the container's; nil before the first Spawn
	processes map[string]*process
	frozen    bool
	dying     bool          // no more processes are started
	helpers   int           // processes of guestinit's own in it
	gone      chan struct{} // closed when nothing is left of it

	others sync.WaitGroup // processes but for first, until their Exited was sent
	oom    *cgroup.Watcher
}

// create makes a container in which nothing runs yet.
func (s *session) create(spec proto.Container) error {
	if err := proto.CheckID(spec.ID); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[spec.ID] != nil {
		return proto.Errorf(proto.Exists, "container %s is there already", spec.ID)
	}
	if err := s.delegate(); err != nil {
		return err
	}
	if len(spec.Mounts) > 0 { // placeIn reads paths there
		if err := s.mountProc(); err != nil {
			return err
		}
	}
	s.created++
	place := "/" + strconv.Itoa(s.created)
	c := &container{
		Container: spec, root: root{spec.Root, containersDir + place}, group: cgroup.Open(cgroupDir + place),
		processes: map[string]*process{}, gone: make(chan struct{}),
	}
	c.volumes = volumes{root: c.root, mounts: spec.Mounts}
	if err := errors.Join(c.root.mount(), c.group.Make()); err != nil {
		return errors.Join(err, c.giveBack())
	}
	if err := c.volumes.mount(); err != nil {
		return errors.Join(err, c.giveBack())
	}
	if err := c.limit(spec.Limits); err != nil {
		return errors.Join(err, c.giveBack())
	}
	s.containers[spec.ID] = c
	return nil
}

// delegate mounts the cgroup hierarchy, for the first container.
func (s *session) delegate() error {
	if s.delegated {
		return nil
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := launch.MountAll([]launch.Mount{{Source: "cgroup", Target: cgroupDir, FSType: "cgroup2", Flags: flags}})
	if err != nil {
		return err
	}
	s.delegated = true
	return cgroup.Open(cgroupDir).Delegate()
}

// giveBack takes away what create made. A cgroup that is left costs nothing.
func (c *container) giveBack() error {
	_ = c.group.Remove()
	return errors.Join(c.volumes.unmount(), c.root.unmount())
}

// helperThreads is how many threads guestinit may have in a container, where it is
// a container's init or copies files, beyond the container's limit.
const helperThreads = 32

// limit sets limits. It needs session.mu.
func (c *container) limit(l proto.Limits) error {
	pids := l.PIDs
	if pids > 0 && c.helpers > 0 {
		l.PIDs += helperThreads
	}
	if err := c.group.Limit(l); err != nil {
		return err
	}
	if pids != 0 {
		c.Limits.PIDs = pids
	}
	return nil
}

// help counts p, if it is guestinit, among those at work in the container (1) or no
// more (-1), for the sake of the limit of processes. It needs session.mu.
func (c *container) help(p *process, change int) error {
	if !p.init && !p.archive {
		return nil
	}
	c.helpers += change
	if c.Limits.PIDs <= 0 || c.helpers > 1 || c.helpers == 1 && change < 0 {
		return nil
	}
	return c.limit(proto.Limits{PIDs: c.Limits.PIDs})
}

// find returns a container.
func (s *session) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil, proto.Errorf(proto.NoContainer, "no container %s", id)
	}
	return c, nil
}

// findProcess returns a process that runs.
func (s *session) findProcess(id, process string) (*process, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.processes[process]
	if p == nil || p.pid == 0 {
		return nil, proto.Errorf(proto.NoProcess, "no process %s in container %s", process, id)
	}
	return p, nil
}

// nameOf is the host's name of a process, if it spawned it.
func (s *session) nameOf(c *container, pid int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range c.processes {
		if p.pid == pid {
			return id
		}
	}
	return ""
}

// remove ends a container, whatever runs in it.
func (s *session) remove(id string) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	mine := c.first == nil && !c.dying
	c.dying = true
	s.mu.Unlock()
	if mine {
		return s.end(c)
	}
	// The end of its first process is the end of it.
	err = c.group.Kill()
	<-c.gone
	return err
}

// killPatience bounds how long killed processes may take to be gone: those that
// wait for a disk do so first.
const killPatience = 30 * time.Second

// end kills what is left of a container and gives back what it holds. All its
// processes have been reported after that, but for the first.
func (s *session) end(c *container) error {
	s.mu.Lock()
	c.dying = true
	s.mu.Unlock()
	err := c.killRest()
	c.others.Wait()
	s.mu.Lock()
	if c.oom != nil {
		_ = c.oom.Close() // ends watchOOM
	}
	delete(s.containers, c.ID)
	s.mu.Unlock()
	if c.root.Discard {
		err = errors.Join(err, c.volumes.unmount())
		go func() { _ = c.giveBack() }() // nobody waits for what is thrown away
	} else {
		err = errors.Join(err, c.giveBack())
	}
	close(c.gone)
	return err
}

// killRest kills what outlives the first process: nothing, in a PID namespace.
func (c *container) killRest() error {
	if c.first != nil && c.Own(proto.PIDNamespace) {
		return nil
	}
	if err := c.group.Kill(); err != nil {
		return err
	}
	return c.group.Empty(killPatience)
}

// watchOOM tells the host whenever the kernel kills for want of memory, until
// the container ends.
func (s *session) watchOOM(c *container) {
	w, err := c.group.Watch("memory.events")
	if err != nil {
		return // it has ended already
	}
	s.mu.Lock()
	dying := c.dying
	c.oom = w
	s.mu.Unlock()
	if dying {
		_ = w.Close()
		return
	}
	var last int64
	_ = w.Wait(func(text string) bool {
		if n := cgroup.OOMKills(text); n > last {
			last = n
			s.send(proto.Message{OOM: &proto.OOM{Container: c.ID, Kills: n}})
		}
		return false
	})
}
