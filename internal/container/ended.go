package container

import (
	"os"
	"path/filepath"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

// What follows is for a container's mvm-vmm, which alone writes state.json while
// it lives; dir is the container's folder.

// Ended notes how a container ended, Exit or Failed. What a container of --rm
// took on disk is given back; the next command takes the rest away.
func Ended(dir string, m control.Message) error {
	c, err := read(dir)
	if err != nil {
		return err
	}
	s := c.State
	s.Status, s.Finished = Exited, time.Now().UTC()
	if m.Exit != nil {
		s.Exit = checked(*m.Exit)
	}
	if m.Failed != nil {
		s.Status, s.Exit = Lost, control.Exit{Code: codeFailed, Error: printable(m.Failed.Error)}
	}
	return c.setState(s)
}

// Restarted notes that a container is started again by itself.
func Restarted(dir string) error {
	c, err := read(dir)
	if err != nil {
		return err
	}
	s := c.State
	s.Restarts++
	s.Status = Running
	s.Started = time.Now().UTC()
	return c.setState(s)
}

// PausedNow notes that a container is frozen, or is not any more.
func PausedNow(dir string, is bool) error {
	c, err := read(dir)
	if err != nil {
		return err
	}
	s := c.State
	s.Status = Running
	if is {
		s.Status = Paused
	}
	return c.setState(s)
}

// Dispose removes the large files of a container of --rm that has ended.
func Dispose(dir string) {
	c, err := read(dir)
	if err != nil || !c.Remove {
		return
	}
	for _, name := range []string{layerFile, imageFile} {
		_ = os.Remove(filepath.Join(dir, name)) // or the next command does
	}
}
