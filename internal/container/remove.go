package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Removal says how a container is removed.
type Removal struct {
	Force   bool // kill it first, if it runs
	Volumes bool // its anonymous volumes too
}

// Remove removes a container, by name, ID or the beginning of an ID. One that
// runs is refused without force.
func (s *Store) Remove(ctx context.Context, ref string, how Removal) error {
	id, err := s.find(ref)
	if err != nil {
		return err
	}
	dir := s.path(containersDir, id)
	c, err := read(dir)
	if err == nil && c.Up() {
		if !how.Force {
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
	if !how.Volumes && !c.Remove { // as --rm says
		err = keepVolumes(dir)
	}
	if err == nil {
		err = s.remove(id)
	}
	if err != nil {
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
