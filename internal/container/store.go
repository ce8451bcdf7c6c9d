// Package container keeps containers on disk and carries them through their
// lives. There is no daemon: what is on disk is all there is, and every command
// reads it anew.
//
//	ROOT/containers/ID/           one folder per container, the working directory of its mvm-vmm
//	    config.json               what it is; written once
//	    state.json                what became of it; replaced as a whole
//	    image                     its root disk: a hard link into the image store
//	    layer                     its writable layer, a sparse ext4 image
//	    volume.NAME               a volume's disk: a hard link into ROOT/volumes
//	    anonymous.NAME            the same of a volume that was made for this container
//	    vsock_1024                where the guest's connections arrive, while it runs
//	ROOT/names/NAME -> ID         a symbolic link: made or refused in one system call
//	ROOT/layers/                  blank file systems, by size
//	ROOT/networks/                bridge networks, and which containers are on them
//
// A process that works on a container holds an flock on its folder, which the
// kernel takes back when the process ends. A container runs as long as the
// process that state.json names is alive. Any process may be killed at any
// instruction; what it leaves half-done is recognised by the free lock, and
// swept away by the next command.
package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mvm-project/mvm/internal/ext4"
)

// Store is mvm's folder. Its methods may be called by several goroutines and
// processes at once.
type Store struct {
	root    string
	bridges Bridges
}

const (
	containersDir = "containers"
	namesDir      = "names"
	layersDir     = "layers"
	networksDir   = "networks"
)

// Open opens the containers in mvm's folder root, which is made if it is
// missing. bridges is for those on bridge networks.
func Open(root string, bridges Bridges) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open mvm's folder: %w", err)
	}
	s := &Store{root, bridges}
	for _, dir := range []string{containersDir, namesDir, layersDir} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			return nil, fmt.Errorf("make mvm's folder: %w: choose another with --root or MVM_ROOT", explain(err))
		}
	}
	return s, nil
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// blanks makes file systems.
func (s *Store) blanks() ext4.Templates { return ext4.Templates{Dir: s.path(layersDir)} }

// exists says whether there is anything at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
