package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/archive"
	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// volumes are the file systems that a container has beside its root. They are
// mounted in the root before anything runs there, and go with it into the
// container's own mount namespace.
type volumes struct {
	root   root
	mounts []proto.Mount

	disks   []string // folders where disks are mounted
	written []string // those of them that can be written
	shares  []string // where what the host serves is mounted
	binds   []string // folders and files of the root that cover others
}

// mount mounts each disk once, and binds a folder of it into the root; and what the
// host serves. On error unmount gives back what was mounted.
func (v *volumes) mount() error {
	for _, m := range v.mounts {
		dir, err := v.source(m)
		if err != nil {
			return err
		}
		target, err := placeIn(v.root.mergedDir(), m.Path, m.File)
		if err != nil {
			return proto.Errorf(proto.Invalid, "mount on %s: %w", m.Path, err)
		}
		source := filepath.Join(dir, m.Folder)
		if m.Copy && !m.ReadOnly {
			if err := fill(source, target); err != nil {
				return fmt.Errorf("copy what the image has at %s to the volume: %w", m.Path, err)
			}
		}
		if err := (launch.Mount{Source: source, Target: target, Flags: unix.MS_BIND}).Do(); err != nil {
			return err
		}
		v.binds = append(v.binds, target)
		if m.ReadOnly {
			if err := (launch.Mount{Target: target, Flags: unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY}).Do(); err != nil {
				return err
			}
		}
	}
	return nil
}

// source returns where what a mount is of is mounted.
func (v *volumes) source(m proto.Mount) (string, error) {
	if m.FS == proto.ShareFS {
		return v.share(m)
	}
	return v.disk(m)
}

// disk returns where a mount's disk is mounted; the first mount of it does that.
func (v *volumes) disk(m proto.Mount) (string, error) {
	dir := filepath.Join(v.root.dir, "disks", filepath.Base(m.Disk))
	if slices.Contains(v.disks, dir) {
		return dir, nil
	}
	mount := launch.Mount{Source: m.Disk, Target: dir, FSType: m.FS}
	switch {
	case m.FS != "erofs" && m.FS != "ext4":
		return "", proto.Errorf(proto.Invalid, "disk with file system %q: erofs or ext4 is needed", m.FS)
	case v.readOnly(m.Disk):
		mount.Flags = unix.MS_RDONLY
	default:
		mount.Flags, mount.Data = unix.MS_NOATIME, diskOptions+",errors=remount-ro"
	}
	err := launch.MountAll([]launch.Mount{mount})
	if errors.Is(err, unix.EROFS) { // there is a journal to be read, and the disk cannot be written
		return "", proto.Errorf(proto.Invalid, "the volume for %s was in use when its microVM was killed: mount it writable once, for its repair", m.Path)
	}
	if err != nil {
		return "", err
	}
	v.disks = append(v.disks, dir)
	if mount.Flags&unix.MS_RDONLY == 0 {
		v.written = append(v.written, dir)
	}
	return dir, nil
}

// readOnly says whether nobody writes a disk.
func (v *volumes) readOnly(disk string) bool {
	return !slices.ContainsFunc(v.mounts, func(m proto.Mount) bool { return m.Disk == disk && !m.ReadOnly })
}

// unmount leaves each disk whole, with an empty journal, so that it can be mounted
// read-only. What holds on to a mount, though it be a thread on its way out, would
// keep an unmounted file system up: it is frozen, which needs nobody's leave.
func (v *volumes) unmount() error {
	var errs []error
	for _, dir := range v.written {
		errs = append(errs, freezeFS(dir))
	}
	for _, dir := range v.shares {
		errs = append(errs, syncFS(dir)) // what was mapped and written
	}
	mounted := slices.Concat(v.disks, v.shares, v.binds)
	for _, dir := range slices.Backward(mounted) {
		errs = append(errs, unmountOrDetach(dir))
	}
	v.binds, v.disks, v.written, v.shares = nil, nil, nil, nil
	return errors.Join(errs...)
}

// fiFreeze is FIFREEZE of linux/fs.h, which x/sys does not have.
const fiFreeze = 0xc0045877

// freezeFS writes a file system to its disk and keeps it as it is then: ext4 empties
// its journal.
func freezeFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
		return fmt.Errorf("write what is in %s to its disk: %w", dir, err)
	}
	return nil
}

// fill gives an empty folder of a volume's the content, owner and mode of another,
// all or nothing.
func fill(dir, from string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		return err
	}
	tmp := dir + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return err
	}
	if err := errors.Join(copyTree(tmp, from), copyMode(from, tmp)); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := syncFS(tmp); err != nil {
		return err
	}
	if err := unix.Rename(tmp, dir); err != nil {
		return fmt.Errorf("rename %s: %w", tmp, err)
	}
	return nil
}

// copyTree copies what is in a folder, as a tar through a pipe.
func copyTree(to, from string) error {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() { // ends with the tar: at the latest when r closes
		err := archive.Pack(from, ".", false, w)
		_ = w.CloseWithError(err)
		packed <- err
	}()
	err := archive.Unpack(to, archive.Options{KeepOwner: true}, r)
	_ = r.CloseWithError(err)
	return errors.Join(err, <-packed)
}
