package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Remove removes a container, by name, ID or the beginning of an ID. One that
// runs is refused, or killed first if force is set.
func (s *Store) Remove(ctx context.Context, ref string, force bool) error {
	id, err := s.find(ref)
	if err != nil {
		return err
	}
	dir := s.path(containersDir, id)
	c, err := read(dir)
	if err == nil && c.Up() {
		if !force {
			return fmt.Errorf("container %s is running: end it first (mvm stop), or remove it with --force", ref)
		}
		if err := c.VMM.kill(); err != nil {
			return fmt.Errorf("container %s: %w", ref, err)
		}
	}
	lock, err := waitLock(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its own command removed it (--rm)
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", ref, err)
	}
	defer func() { _ = lock.Close() }()
	if err := s.remove(id); err != nil {
		return fmt.Errorf("remove container %s: %w", ref, err)
	}
	return nil
}

// lockPatience is how long the command of a killed container may take to note
// that; lockRetry how often it is looked for.
const (
	lockPatience = 10 * time.Second
	lockRetry    = 20 * time.Millisecond
)

// waitLock takes a container's lock as soon as it is free. Waiting in flock
// could not be cancelled.
func waitLock(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		f, err := lockDir(dir, false)
		if !errors.Is(err, errBusy) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockRetry):
		}
	}
}
