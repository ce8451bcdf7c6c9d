package container

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mvm-project/mvm/internal/control"
)

// RunAttached is Run for a container whose streams come to client: one with a
// terminal. ErrDetached says that it goes on without this process.
func (s *Store) RunAttached(ctx context.Context, program string, o Options, client Client) (control.Exit, error) {
	id, lock, err := s.create(&o)
	if err != nil {
		return control.Exit{}, fmt.Errorf("make a container: %w", err)
	}
	c, err := s.fill(id, o)
	if err == nil {
		err = errors.Join(c.persist(), s.Sweep())
	}
	if err != nil {
		return control.Exit{}, errors.Join(err, s.discard(id, lock))
	}
	exit, started, err := s.attached(ctx, program, c, lock, client)
	if (o.Remove || !started) && !errors.Is(err, ErrDetached) {
		return exit, errors.Join(err, s.discard(id, lock))
	}
	return exit, errors.Join(err, lock.Close())
}

// StartAttached is Start for a command that stays with the container.
func (s *Store) StartAttached(ctx context.Context, ref string, b Boot, client Client) (control.Exit, error) {
	c, lock, err := s.idle(ctx, ref, b)
	if err != nil {
		return control.Exit{}, err
	}
	if lock == nil {
		return c.Attach(ctx, client)
	}
	exit, _, err := s.attached(ctx, b.Program, c, lock, client)
	return exit, errors.Join(err, lock.Close())
}

// attached starts a mvm-vmm and carries its container's streams to the end.
func (s *Store) attached(ctx context.Context, program string, c *Container, lock *os.File, client Client) (exit control.Exit, started bool, err error) {
	m, err := s.begin(ctx, program, c, lock, control.Start{Attach: true})
	if err != nil {
		return control.Exit{}, false, err
	}
	exit, err = c.converse(ctx, m.talk, client, false)
	if errors.Is(err, ErrDetached) {
		return control.Exit{}, true, errors.Join(err, m.release())
	}
	state := m.end(ctx)
	if errors.Is(err, errSilent) {
		err = explainDeath(m.cmd.Process.Pid, state)
	}
	return exit, exit.Error == "" || exit.Code > codeSignal, err
}
