package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List returns all containers, the newest first.
func (s *Store) List() ([]Container, error) {
	entries, err := os.ReadDir(s.path(containersDir))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var list []Container
	for _, e := range entries {
		c, err := read(s.path(containersDir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // just being made, or just removed
		}
		if err != nil {
			c = Container{Config: Config{ID: e.Name()}, State: State{Status: Damaged}}
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Container) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// find returns the ID that a name, an ID or the beginning of one means.
func (s *Store) find(ref string) (string, error) {
	if checkName(ref) != nil {
		return "", unknown(ref)
	}
	if id, err := os.Readlink(s.path(namesDir, ref)); err == nil {
		return id, nil
	}
	entries, err := os.ReadDir(s.path(containersDir))
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if e.Name() == ref {
			return ref, nil
		}
		if strings.HasPrefix(e.Name(), ref) {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", unknown(ref)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("container %q is ambiguous: %s begin with it", ref, strings.Join(found, ", "))
}

func unknown(ref string) error {
	return fmt.Errorf("no container %q: see mvm ps -a", ref)
}

// Sweep clears away what killed commands left: containers that were never
// finished, and those of --rm whose microVM is gone; and what those that do not run
// any more have of the host's network. What others work on, and what the user may
// want, stays.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(s.path(containersDir))
	if err != nil {
		return fmt.Errorf("sweep containers: %w", err)
	}
	for _, e := range entries {
		if err := s.sweep(e.Name()); err != nil {
			return fmt.Errorf("sweep container %s: %w", e.Name(), err)
		}
	}
	return s.tidyNetworks()
}

func (s *Store) sweep(id string) error {
	dir := s.path(containersDir, id)
	// Most containers are neither running nor leftovers: look before locking.
	if c, err := read(dir); err == nil && !c.leftover() {
		return nil
	}
	lock, err := lockDir(dir, false)
	if errors.Is(err, errBusy) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	c, err := read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // never got its config.json
		return s.remove(id)
	case err != nil:
		return nil // damaged: for the user to look at, and to remove
	case c.leftover():
		return s.remove(id)
	}
	return nil
}

// leftover says whether nobody wants a container whose lock is free.
func (c *Container) leftover() bool {
	return c.Status == Created && !c.Kept || c.Remove && !c.Up() && c.Status != Created
}

// remove takes a container away, of which the caller has the lock, with the
// anonymous volumes that it still has. Its config.json goes first and its folder last:
// a remover that is killed leaves what sweep takes for a container that was never
// finished, and not one that has lost its name.
func (s *Store) remove(id string) error {
	dir := s.path(containersDir, id)
	if err := ignoreMissing(os.Remove(filepath.Join(dir, configFile))); err != nil {
		return err
	}
	if err := s.release(id); err != nil {
		return err
	}
	s.leave(id)
	if err := s.dropVolumes(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
