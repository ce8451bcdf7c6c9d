package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

// Create makes a container that does not run yet, and returns its ID.
func (s *Store) Create(o Options) (string, error) {
	id, lock, err := s.create(&o)
	if err != nil {
		return "", fmt.Errorf("make a container: %w", err)
	}
	o.kept = true
	c, err := s.fill(id, o)
	if err == nil {
		err = errors.Join(c.persist(), s.Sweep())
	}
	if err != nil {
		return "", errors.Join(err, s.discard(id, lock))
	}
	return id, lock.Close()
}

// RunDetached makes a container, and returns its ID when its process runs. If
// that could not be started, exit says why, and the container is removed.
func (s *Store) RunDetached(ctx context.Context, program string, o Options) (id string, exit control.Exit, err error) {
	id, lock, err := s.create(&o)
	if err != nil {
		return "", control.Exit{}, fmt.Errorf("make a container: %w", err)
	}
	c, err := s.fill(id, o)
	if err == nil {
		err = errors.Join(c.persist(), s.Sweep())
	}
	if err == nil {
		exit, err = s.detached(ctx, program, c, lock)
	}
	if err != nil || exit.Error != "" {
		return "", exit, errors.Join(err, s.discard(id, lock))
	}
	return id, exit, lock.Close()
}

// Boot is what a container is started with again: what changes when mvm does.
type Boot struct {
	Program, Kernel, Initrd string
}

// Start starts a container again, and returns when its process runs. If that
// could not be started, exit says why.
func (s *Store) Start(ctx context.Context, ref string, b Boot) (exit control.Exit, err error) {
	c, lock, err := s.idle(ctx, ref, b)
	if err != nil || lock == nil {
		return control.Exit{}, err
	}
	exit, err = s.detached(ctx, b.Program, c, lock)
	return exit, errors.Join(err, lock.Close())
}

// idle takes the lock of a container that does not run; it is nil if it runs.
func (s *Store) idle(ctx context.Context, ref string, b Boot) (*Container, *os.File, error) {
	id, err := s.find(ref)
	if err != nil {
		return nil, nil, err
	}
	dir := s.path(containersDir, id)
	if c, err := read(dir); err == nil && c.Up() {
		return &c, nil, nil
	}
	lock, err := waitLock(ctx, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("start container %s: %w", ref, err)
	}
	c, err := read(dir)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start container %s: %w", ref, err), lock.Close())
	}
	if !c.OwnKernel {
		c.Spec.VM.Kernel = b.Kernel
	}
	c.Spec.VM.Initrd = b.Initrd
	return &c, lock, nil
}

// detached starts a mvm-vmm that outlives this process, and waits until the
// container's process runs.
func (s *Store) detached(ctx context.Context, program string, c *Container, lock *os.File) (control.Exit, error) {
	m, err := s.begin(ctx, program, c, lock, control.Start{Detached: true})
	if err != nil {
		return control.Exit{}, err
	}
	select {
	case msg, open := <-m.messages:
		switch {
		case !open:
			return control.Exit{}, explainDeath(m.cmd.Process.Pid, m.end(ctx))
		case msg.Started != nil:
			return control.Exit{}, m.release()
		case msg.Exit != nil:
			m.end(ctx)
			return checked(*msg.Exit), nil
		case msg.Failed != nil:
			m.end(ctx)
			return control.Exit{}, failure(*msg.Failed)
		}
		m.kill()
		m.end(ctx)
		return control.Exit{}, errSilent
	case <-ctx.Done():
		m.kill()
		m.end(ctx)
		return control.Exit{}, context.Cause(ctx)
	}
}

// begin starts a mvm-vmm and tells it what to be: what st does not say is c's.
func (s *Store) begin(ctx context.Context, program string, c *Container, lock *os.File, st control.Start) (*machine, error) {
	p, err := s.plug(c.ID, c.Name, c.Network)
	if err != nil {
		return nil, err
	}
	st.Spec = p.spec(c.Spec)
	if p.joined() {
		st.After = true
		p.after = []string{"--root", s.root, "network", "leave", c.ID}
	}
	m, err := launch(program, c.dir, c.ID, lock, IO{}, p, c.Mounts)
	if err != nil {
		return nil, err
	}
	if err = c.runningAs(m); err == nil {
		err = m.tell(control.Message{Start: &st})
	}
	if err != nil {
		m.kill()
		m.end(ctx)
		return nil, err
	}
	return m, nil
}

// runningAs notes that the container's mvm-vmm is m.
func (c *Container) runningAs(m *machine) error {
	p, err := identify(m.cmd.Process.Pid)
	if err != nil {
		return err
	}
	return c.setState(State{Status: Running, VMM: p, Started: time.Now().UTC()})
}
