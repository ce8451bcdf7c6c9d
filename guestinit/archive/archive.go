// Package archive copies files between folders and tar streams, as docker cp
// does: guestinit in the container's root, and mvm cp at the other end, where the
// tar is a guest's and not to be trusted.
package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Do does what a asks for, in the root of the calling process.
func Do(a proto.Archive, in io.Reader, out io.Writer) error {
	path := filepath.Join("/", a.Path)
	switch a.Do {
	case proto.Stat:
		return stat(path, a.Follow, out)
	case proto.Hold:
		for {
			_ = unix.Pause() // returns at every signal, those of the Go runtime's own too
		}
	case proto.Pack:
		return Pack(path, filepath.Base(path), a.Follow, out)
	case proto.Unpack:
		return Unpack(path, Options{KeepOwner: a.KeepOwner}, in)
	}
	return fmt.Errorf("copy: %q is nothing to do", a.Do)
}

// stat writes the path's PathStat.
func stat(path string, follow bool, out io.Writer) error {
	var st unix.Stat_t
	look := unix.Lstat
	if follow {
		look = unix.Stat
	}
	if err := look(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	s := proto.PathStat{Name: filepath.Base(path), Mode: st.Mode, Size: st.Size, Mtime: st.Mtim.Nano()}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, err := resolve(path)
		if err != nil {
			return err
		}
		s.Target = target
	}
	return json.NewEncoder(out).Encode(s)
}

// resolve is where the link at path leads, one step, as an absolute path.
func resolve(path string) (string, error) {
	target, err := os.Readlink(path)
	if err != nil || filepath.IsAbs(target) {
		return target, err
	}
	return filepath.Join(filepath.Dir(path), target), nil
}

// errKind is for what a tar cannot hold.
var errKind = errors.New("neither a file, a folder, a link, a device nor a FIFO")
