// Package folder is what the folders of mvm's state on disk have in common: a lock,
// names that appear and vanish as a whole, whoever is killed when, and files that
// outlive a loss of power.
package folder

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Unstable begins the names of what is being made, or removed, under the lock.
const Unstable = ".new-"

// Locked runs f under the folder's lock, after what killed processes left is cleared
// away: what the patterns (path/filepath) match, within the folder.
func Locked(dir string, left []string, f func() error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // and with it the lock
	if err := Flock(d, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	for _, pattern := range left {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return f()
}

// Flock is flock(2), which a signal of the Go runtime's may interrupt.
func Flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Remove removes a folder within dir. It needs the lock: one name after the other
// would leave half a folder to a kill.
func Remove(dir, name string) error {
	tmp, err := os.MkdirTemp(dir, Unstable)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, name), filepath.Join(tmp, name)); err != nil {
		return err
	}
	return os.RemoveAll(tmp)
}

// Sync makes what a file holds, or the names in a folder, survive a loss of power.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ReadJSON reads a file into v.
func ReadJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}

// Exists says whether something can be seen at path.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// FullDisk adds to the error of a full disk what to do: to free some space, or the
// other ways out.
func FullDisk(err error, others string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the disk is full: free some space%s: %w", others, err)
	}
	return err
}
