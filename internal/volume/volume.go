// Package volume keeps named volumes on disk: what containers share with those
// that come after them.
//
//	ROOT/volumes/NAME/
//	    volume.json          what it is; written once
//	    disk                 its ext4 file system, a sparse file
//	ROOT/volumes/.new-*      one that is being made, or removed, under the lock
//
// A container takes a volume by a hard link to its disk, in its own folder: the
// file's count of links is how many containers have the volume, whoever was killed
// when, and a volume that any has is not removed. Whoever makes, takes or removes
// one holds an flock on the folder of them all.
package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/ext4"
	"github.com/mvm-project/mvm/internal/folder"
	"github.com/mvm-project/mvm/internal/naming"
)

// Folder is the folder in a volume's file system that containers see: ext4 has one
// of its own beside it, lost+found.
const Folder = "data"

// Volume is a volume.
type Volume struct {
	Name    string
	Created time.Time
	// Size bounds what it holds, in bytes.
	Size   int64
	Labels map[string]string `json:",omitempty"`
	// Nameless says that nobody chose its name.
	Nameless bool `json:",omitempty"`

	// Disk is the path of its file system, Used the room that takes on the host,
	// in bytes, and Holders how many containers have it.
	Disk    string `json:"-"`
	Used    int64  `json:"-"`
	Holders int    `json:"-"`
}

// Store is the folder of all volumes. Its methods may be called by several
// goroutines and processes at once.
type Store struct {
	dir    string
	blanks ext4.Templates
}

const (
	infoFile = "volume.json"
	diskFile = "disk"
)

// Open opens the folder, which is made if it is missing; blanks makes file
// systems.
func Open(dir string, blanks ext4.Templates) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of volumes: %w", err)
	}
	return &Store{dir, blanks}, nil
}

// Errors that are in those of methods.
var (
	ErrExists = errors.New("is there already")
	ErrInUse  = errors.New("is in use")
)

// CheckName checks a volume's name.
func CheckName(name string) error { return naming.Check("volume", name) }

// RandomName is a name for a volume that nobody names.
func RandomName() string {
	return fmt.Sprintf("%016x%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
}

// Create makes an empty volume; its Size is as of ext4.Size.
func (s *Store) Create(v Volume) error {
	if err := CheckName(v.Name); err != nil {
		return err
	}
	return s.locked(func() error { return s.create(v) })
}

// Take makes path a hard link to the disk of the volume of that name, which is
// made if it is missing, nameless or not.
func (s *Store) Take(name, path string, nameless bool) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return s.locked(func() error {
		err := s.create(Volume{Name: name, Size: ext4.DefaultSize, Nameless: nameless})
		if err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		if err := os.Link(s.path(name, diskFile), path); err != nil {
			return fmt.Errorf("take the volume %s: %w", name, err)
		}
		return nil
	})
}

// Drop removes path, a link of Take's, and the volume with it if no other container
// has that.
func (s *Store) Drop(name, path string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return s.locked(func() error {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("give up the volume %s: %w", name, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(s.path(name, diskFile), &st); err != nil || st.Nlink > 1 {
			return nil //nolint:nilerr // it is gone
		}
		return folder.Remove(s.dir, name)
	})
}

// create makes a volume, as a whole or not at all. It needs the lock.
func (s *Store) create(v Volume) error {
	if folder.Exists(s.path(v.Name)) {
		return fmt.Errorf("the volume %s %w", v.Name, ErrExists)
	}
	tmp, err := os.MkdirTemp(s.dir, folder.Unstable)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	v.Created = time.Now().UTC()
	info, err := json.Marshal(v)
	if err != nil {
		return err
	}
	disk := filepath.Join(tmp, diskFile)
	if err := errors.Join(
		s.blanks.Make(disk, v.Size, Folder),
		os.WriteFile(filepath.Join(tmp, infoFile), info, 0o600),
	); err != nil {
		return fmt.Errorf("make the volume %s: %w", v.Name, err)
	}
	// A volume is there to outlive a loss of power.
	for _, path := range []string{disk, filepath.Join(tmp, infoFile), tmp} {
		if err := folder.Sync(path); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, s.path(v.Name)); err != nil {
		return err
	}
	return folder.Sync(s.dir)
}

// Get returns the volume of that name.
func (s *Store) Get(name string) (Volume, error) {
	if CheckName(name) != nil || !folder.Exists(s.path(name)) {
		return Volume{}, fmt.Errorf("no volume %q: see mvm volume ls", name)
	}
	return s.read(name)
}

func (s *Store) read(name string) (Volume, error) {
	text, err := os.ReadFile(s.path(name, infoFile))
	v := Volume{}
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	v.Name, v.Disk = name, s.path(name, diskFile)
	var st unix.Stat_t
	if err == nil {
		err = unix.Stat(v.Disk, &st)
	}
	if err != nil {
		return v, fmt.Errorf("the volume %s is damaged: %w", name, err)
	}
	v.Used, v.Holders = st.Blocks*512, int(st.Nlink)-1
	return v, nil
}

// List returns all volumes by name. One that is damaged is left out.
func (s *Store) List() ([]Volume, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var list []Volume
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue
		}
		if v, err := s.read(e.Name()); err == nil {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Remove removes a volume and what is in it. One that a container has stays, with
// ErrInUse.
func (s *Store) Remove(name string) error {
	if CheckName(name) != nil {
		return fmt.Errorf("no volume %q: see mvm volume ls", name)
	}
	return s.locked(func() error {
		var st unix.Stat_t
		err := unix.Stat(s.path(name, diskFile), &st)
		switch {
		case err == nil && st.Nlink > 1:
			return fmt.Errorf("the volume %s %w", name, ErrInUse)
		case errors.Is(err, fs.ErrNotExist) && !folder.Exists(s.path(name)):
			return fmt.Errorf("no volume %q: see mvm volume ls", name)
		}
		if err := folder.Remove(s.dir, name); err != nil {
			return fmt.Errorf("remove the volume %s: %w", name, err)
		}
		return nil
	})
}

// locked runs f under the lock, after what killed processes left is cleared away.
func (s *Store) locked(f func() error) error {
	err := folder.Locked(s.dir, []string{folder.Unstable + "*"}, f)
	return folder.FullDisk(err, ", or remove volumes (mvm volume rm)")
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}
