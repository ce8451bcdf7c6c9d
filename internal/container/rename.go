package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Rename gives a container another name, whether it runs or not. A command that
// is killed on the way may leave it both; the same command again ends that.
func (s *Store) Rename(ref, name string) error {
	id, err := s.find(ref)
	if err != nil {
		return err
	}
	dir := s.path(containersDir, id)
	if c, err := read(dir); err == nil && c.Name == name {
		return fmt.Errorf("rename container %s: it has that name already", ref)
	}
	if err := s.reserve(name, id); err != nil {
		return fmt.Errorf("rename container %s: %w", ref, err)
	}
	unlock, err := s.lockNames() // config.json is changed under it
	if err != nil {
		return err
	}
	defer unlock()
	c, err := read(dir)
	if err != nil {
		return errors.Join(fmt.Errorf("rename container %s: %w", ref, err), os.Remove(s.path(namesDir, name)))
	}
	old := c.Name
	c.Name = name
	if networks, err := s.Networks(); err == nil {
		err = networks.Rename(id, name)
		if err != nil {
			return errors.Join(fmt.Errorf("rename container %s: %w", ref, err), os.Remove(s.path(namesDir, name)))
		}
	}
	if err := writeJSON(filepath.Join(dir, configFile), c.Config, durable); err != nil {
		return errors.Join(fmt.Errorf("rename container %s: %w", ref, err), os.Remove(s.path(namesDir, name)))
	}
	if old == "" || old == name {
		return nil
	}
	return os.Remove(s.path(namesDir, old))
}
