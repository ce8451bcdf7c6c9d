package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func fileTime(t unix.Timespec) time.Time { return time.Unix(t.Unix()) }

// Options say how a tar is unpacked.
type Options struct {
	// KeepOwner gives files the tar's numeric owners.
	KeepOwner bool
	// Rename, if set, is what the first element of each name is replaced by; "."
	// leaves it out.
	Rename string
	// Harmless makes no devices, and without KeepOwner leaves out set-user-ID and
	// set-group-ID, which would be of who unpacks.
	Harmless bool
}

// unpacker writes the files of a tar below a folder. os.Root keeps every name
// within it, whatever links are there or come along.
type unpacker struct {
	Options
	root    *os.Root
	folders []*tar.Header // their times are set last
}

// Unpack writes a tar's files below dir. A folder does not replace a file, nor a
// file a folder.
func Unpack(dir string, o Options, in io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{Options: o, root: root}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := u.add(h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	// The inner ones first: to set one's time needs no write to the outer.
	slices.Reverse(u.folders)
	for _, h := range u.folders {
		if err := u.root.Chtimes(u.name(h.Name), h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	// What was in the pipe after the end of the tar is read, so that no writer is
	// left with a broken one.
	_, err = io.Copy(io.Discard, in)
	return err
}

// name is a tar's name as os.Root takes it.
func (u *unpacker) name(s string) string {
	s = strings.TrimPrefix(path.Clean("/"+s), "/")
	if u.Rename == "" {
		return s
	}
	_, rest, _ := strings.Cut(s, "/")
	return strings.TrimPrefix(path.Join("/", u.Rename, rest), "/")
}

func (u *unpacker) add(h *tar.Header, data io.Reader) error {
	n := u.name(h.Name)
	if n == "" {
		return nil // the folder itself
	}
	if h.Typeflag == tar.TypeDir {
		return u.folder(n, h)
	}
	if fi, err := u.root.Lstat(n); err == nil {
		if fi.IsDir() {
			return errors.New("there is a folder of this name, and this is none")
		}
		if err := u.root.Remove(n); err != nil {
			return err
		}
	}
	if err := u.make(n, h, data); err != nil {
		return err
	}
	return u.finish(n, h)
}

func (u *unpacker) folder(n string, h *tar.Header) error {
	err := u.root.Mkdir(n, 0o700)
	if errors.Is(err, os.ErrExist) {
		fi, statErr := u.root.Stat(n)
		if statErr != nil {
			return statErr
		}
		if !fi.IsDir() {
			return errors.New("there is a file of this name, and this is a folder")
		}
		return nil // it stays as it is
	}
	if err != nil {
		return err
	}
	u.folders = append(u.folders, h)
	return u.finish(n, h)
}

// make makes a file that is no folder.
func (u *unpacker) make(n string, h *tar.Header, data io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg:
		return u.file(n, data)
	case tar.TypeSymlink:
		return u.root.Symlink(h.Linkname, n)
	case tar.TypeLink:
		return u.root.Link(u.name(h.Linkname), n)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(n, h)
	}
	return fmt.Errorf("%w (type %q)", errKind, h.Typeflag)
}

func (u *unpacker) file(n string, data io.Reader) error {
	f, err := u.root.OpenFile(n, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	return errors.Join(err, f.Close())
}

// errDevice is for what has no place on a host.
var errDevice = errors.New("a device, which is not made here")

// node makes a device or a FIFO.
func (u *unpacker) node(n string, h *tar.Header) error {
	if u.Harmless && h.Typeflag != tar.TypeFifo {
		return errDevice
	}
	mode := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	return u.at(n, func(dir int, base string) error {
		return unix.Mknodat(dir, base, mode|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	})
}

// at does what os.Root cannot, in the folder of n as os.Root finds it.
func (u *unpacker) at(n string, do func(dir int, base string) error) error {
	dir, err := u.root.Open(filepath.Dir(n))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return do(int(dir.Fd()), filepath.Base(n))
}

// finish sets owner, mode and time.
func (u *unpacker) finish(n string, h *tar.Header) error {
	if u.KeepOwner {
		if err := u.root.Lchown(n, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return nil
	case tar.TypeSymlink:
		times := []unix.Timespec{unix.NsecToTimespec(h.ModTime.UnixNano()), unix.NsecToTimespec(h.ModTime.UnixNano())}
		return u.at(n, func(dir int, base string) error {
			return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
		})
	}
	// After the owner, whose change takes setuid away.
	mode := modeOf(h)
	if u.Harmless && !u.KeepOwner {
		mode &^= os.ModeSetuid | os.ModeSetgid
	}
	if err := u.root.Chmod(n, mode); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	return u.root.Chtimes(n, h.ModTime, h.ModTime)
}

// modeOf is a tar's mode as package os has it.
func modeOf(h *tar.Header) os.FileMode {
	mode := os.FileMode(h.Mode & 0o777)
	for bit, m := range map[int64]os.FileMode{unix.S_ISUID: os.ModeSetuid, unix.S_ISGID: os.ModeSetgid, unix.S_ISVTX: os.ModeSticky} {
		if h.Mode&bit != 0 {
			mode |= m
		}
	}
	return mode
}
