package container

import (
	"errors"
	"fmt"
	"os"

	"github.com/mvm-project/mvm/internal/naming"
)

// checkName checks a container's name.
func checkName(name string) error { return naming.Check("container", name) }

// errTaken is in the error of a name that another container has.
var errTaken = errors.New("is taken")

// reserve gives a name to a container that has its folder.
func (s *Store) reserve(name, id string) error {
	if err := checkName(name); err != nil {
		return err
	}
	unlock, err := s.lockNames()
	if err != nil {
		return err
	}
	defer unlock()
	link := s.path(namesDir, name)
	err = os.Symlink(id, link)
	if !errors.Is(err, os.ErrExist) {
		return explain(err)
	}
	holder, err := os.Readlink(link)
	if err != nil {
		return err
	}
	if holder == id {
		return nil // for a Rename that was killed
	}
	if exists(s.path(containersDir, holder)) {
		return fmt.Errorf("the container name %q %w by container %s: choose another, or remove that one with mvm rm %s", name, errTaken, holder, name)
	}
	if err := os.Remove(link); err != nil {
		return err
	}
	return explain(os.Symlink(id, link))
}

// release takes away all names of a container.
func (s *Store) release(id string) error {
	unlock, err := s.lockNames()
	if err != nil {
		return err
	}
	defer unlock()
	names, err := os.ReadDir(s.path(namesDir))
	if err != nil {
		return err
	}
	for _, n := range names {
		link := s.path(namesDir, n.Name())
		if holder, err := os.Readlink(link); err != nil || holder != id {
			continue
		}
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	return nil
}

// lockNames lets one process at a time change names.
func (s *Store) lockNames() (unlock func(), err error) {
	f, err := lockDir(s.path(namesDir), true)
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
