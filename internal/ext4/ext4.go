// Package ext4 makes blank ext4 file systems for guests: sparse files, which take
// the room of what is written.
package ext4

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/folder"
)

// Sizes of a file system: there is no journal in less, and 4 KiB blocks address no
// more.
const (
	MinSize = 16 << 20
	MaxSize = 16 << 40
	// DefaultSize is for those who do not say.
	DefaultSize = 10 << 30
)

// blockSize is ext4's, of which a size is a multiple.
const blockSize = 4096

// Size rounds a size up to whole blocks; 0 is DefaultSize.
func Size(n int64) (int64, error) {
	switch {
	case n == 0:
		return DefaultSize, nil
	case n < MinSize || n > MaxSize:
		return 0, errors.New("a file system has 16m to 16t")
	}
	return (n + blockSize - 1) &^ (blockSize - 1), nil
}

// Templates is a folder of blank file systems, one for each kind that was asked
// for.
type Templates struct{ Dir string }

// Make makes a file at path with a file system of so many bytes, with empty
// folders, by copying a template: four extents, 150 KiB. mke2fs itself takes 20
// times as long.
func (t Templates) Make(path string, size int64, folders ...string) error {
	template := filepath.Join(t.Dir, fmt.Sprintf("ext4-%d-%s", size, strings.Join(folders, "-")))
	err := copySparse(path, template)
	if errors.Is(err, os.ErrNotExist) {
		err = folder.Locked(t.Dir, []string{folder.Unstable + "*"}, func() error {
			if folder.Exists(template) {
				return nil // another process has made it
			}
			return makeTemplate(template, size, folders)
		})
		if err == nil {
			err = copySparse(path, template)
		}
	}
	return err
}

// makeTemplate formats a file, which is there as a whole or not at all. It needs the
// folder's lock. Its name is given last: after that nobody looks for what a killed one
// has left.
func makeTemplate(path string, size int64, folders []string) error {
	f, err := os.CreateTemp(filepath.Dir(path), folder.Unstable)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // there is none if all went well
	}()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := format(f.Name(), folders); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// format runs mke2fs for a file that is one hole, so nothing has to be zeroed (the
// guest mounts it with noinit_itable), and has all metadata lie together. There
// is no space kept for root, none for growth and few copies of the superblock.
// The first block that a guest allocates makes it read the bitmaps of a whole
// flexible group: it is of two (-G; with one mke2fs 1.47 counts wrong), and the
// folders, which are made beside the file first, are there.
func format(path string, folders []string) error {
	program, err := findMke2fs()
	if err != nil {
		return err
	}
	content, err := os.MkdirTemp(filepath.Dir(path), folder.Unstable)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(content) }()
	if err := os.Chmod(content, 0o755); err != nil { // it becomes the root
		return err
	}
	for _, name := range folders {
		if err := os.Mkdir(filepath.Join(content, name), 0o755); err != nil {
			return err
		}
	}
	out, err := exec.Command(program, "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-G", "2", "-d", content,
		"-O", "^resize_inode,sparse_super2",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,packed_meta_blocks=1,root_owner=0:0",
		path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// findMke2fs finds that of e2fsprogs, which is not in every user's PATH.
func findMke2fs() (string, error) {
	for _, name := range []string{"/usr/sbin/mke2fs", "/sbin/mke2fs", "mke2fs"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("mke2fs is missing: install e2fsprogs, or use --read-only")
}

// copySparse copies a file to a new one, holes as holes.
func copySparse(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// XFS and btrfs share the blocks; ext4 and tmpfs have to copy them.
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		err = copyExtents(dst, src)
	}
	return errors.Join(err, dst.Close())
}

// copyExtents copies what is data in src to dst, which is empty.
func copyExtents(dst, src *os.File) error {
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(fi.Size()); err != nil {
		return err
	}
	for end := int64(0); end < fi.Size(); {
		start, err := src.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		if end, err = src.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := copyRange(dst, src, start, end-start); err != nil {
			return err
		}
	}
	return nil
}

func copyRange(dst, src *os.File, at, n int64) error {
	_, err := io.Copy(io.NewOffsetWriter(dst, at), io.NewSectionReader(src, at, n))
	return err
}
