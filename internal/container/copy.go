package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/archive"
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// CopyOptions say how files are copied.
type CopyOptions struct {
	// Follow copies what a link in the source path points to.
	Follow bool
	// KeepOwner keeps the files' numeric owners.
	KeepOwner bool
}

// CopyOut copies a file or a folder of the container's to dest on the host. What
// comes is a guest's: it stays below dest, makes no device and gives no rights.
func (c *Container) CopyOut(ctx context.Context, src, dest string, o CopyOptions) error {
	from, err := c.source(ctx, src, o.Follow)
	if err != nil {
		return err
	}
	to, err := hostFile(dest)
	if err != nil {
		return err
	}
	dir, name, err := place(from, to)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() { // ends with the tar: at the latest when w closes
		err := archive.Unpack(dir, archive.Options{Rename: name, Harmless: true, KeepOwner: o.KeepOwner}, r)
		_ = r.CloseWithError(err)
		unpacked <- err
	}()
	packErr := c.archive(ctx, proto.Archive{Do: proto.Pack, Path: from.path, Follow: from.follow}, nil, w)
	_ = w.CloseWithError(packErr)
	if err := <-unpacked; err != nil && !errors.Is(err, packErr) {
		return fmt.Errorf("copy to %s: %w", dest, err)
	}
	return packErr
}

// CopyIn copies a file or a folder of the host's into the container.
func (c *Container) CopyIn(ctx context.Context, src, dest string, o CopyOptions) error {
	from, err := hostSource(src, o.Follow)
	if err != nil {
		return err
	}
	to, err := c.file(ctx, dest)
	if err != nil {
		return err
	}
	dir, name, err := place(from, to)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() { // ends with the tar: at the latest when r closes
		err := archive.Pack(from.path, name, from.follow, w)
		_ = w.CloseWithError(err)
		packed <- err
	}()
	unpackErr := c.archive(ctx, proto.Archive{Do: proto.Unpack, Path: dir, KeepOwner: o.KeepOwner}, r, io.Discard)
	_ = r.Close()
	if err := <-packed; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	return unpackErr
}

// TarOut writes a file or a folder of the container's to w, as a tar.
func (c *Container) TarOut(ctx context.Context, src string, w io.Writer, o CopyOptions) error {
	from, err := c.source(ctx, src, o.Follow)
	if err != nil {
		return err
	}
	return c.archive(ctx, proto.Archive{Do: proto.Pack, Path: from.path, Follow: from.follow}, nil, w)
}

// TarIn unpacks the tar of r into a folder of the container's.
func (c *Container) TarIn(ctx context.Context, r io.Reader, dest string, o CopyOptions) error {
	to, err := c.file(ctx, dest)
	if err != nil {
		return err
	}
	if !to.folder {
		return fmt.Errorf("%s:%s is no folder: a tar is unpacked into one", c.Label(), dest)
	}
	return c.archive(ctx, proto.Archive{Do: proto.Unpack, Path: to.path, KeepOwner: o.KeepOwner}, r, io.Discard)
}

// end is one end of a copy: a path as it was given, and what is there.
type end struct {
	given          string
	path           string // absolute, without links where it is a destination
	exists, folder bool
	follow         bool // a source: what a link points to is meant
}

// contents says that not a folder is meant, but what is in it.
func (e end) contents() bool {
	return e.path == "/" || e.given == "." || strings.HasSuffix(e.given, "/.")
}

// slashed says that path was given as a folder's.
func slashed(path string) bool { return strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") }

// place is docker's rule of where a source goes: into a folder, under a name; "."
// is what is in the source, each under its own.
func place(from, to end) (dir, name string, err error) {
	switch {
	case to.folder && from.folder && from.contents():
		return to.path, ".", nil
	case to.folder:
		return to.path, filepath.Base(from.path), nil
	case to.exists && from.folder:
		return "", "", fmt.Errorf("%s is a file, and %s a folder: it cannot take its place", to.given, from.given)
	case slashed(to.given) && (to.exists || !from.folder):
		return "", "", fmt.Errorf("%s is no folder", to.given)
	}
	return filepath.Dir(to.path), filepath.Base(to.path), nil
}

// hostSource looks at what is to be copied.
func hostSource(src string, follow bool) (end, error) {
	e := end{given: src, exists: true, follow: follow || slashed(src)}
	abs, err := filepath.Abs(src)
	if err != nil {
		return e, err
	}
	e.path = abs
	look := os.Lstat
	if e.follow {
		look = os.Stat
	}
	fi, err := look(abs)
	if err != nil {
		return e, err
	}
	e.folder = fi.IsDir()
	if slashed(src) && !e.folder {
		return e, fmt.Errorf("%s is no folder", src)
	}
	return e, nil
}

// hostFile looks at where something is to be copied.
func hostFile(dest string) (end, error) {
	e := end{given: dest}
	abs, err := filepath.Abs(dest)
	if err != nil {
		return e, err
	}
	e.path = abs
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, os.ErrNotExist) {
		return e, nil // its folder has to be there, which Unpack sees
	}
	if err != nil {
		return e, err
	}
	fi, err := os.Stat(real)
	e.path, e.exists = real, true
	e.folder = err == nil && fi.IsDir()
	return e, err
}

// source looks at what is to be copied from the container.
func (c *Container) source(ctx context.Context, src string, follow bool) (end, error) {
	e := end{given: src, path: path.Join("/", src), exists: true, follow: follow || slashed(src)}
	st, err := c.stat(ctx, e.path, e.follow)
	if err != nil {
		return e, err
	}
	e.folder = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if slashed(src) && !e.folder {
		return e, fmt.Errorf("%s:%s is no folder", c.Label(), src)
	}
	return e, nil
}

// maxLinks is how many links are followed to a destination, as Linux has it.
const maxLinks = 40

// file looks at where something is to be copied in the container, and follows
// links, as far as there is something.
func (c *Container) file(ctx context.Context, dest string) (end, error) {
	e := end{given: dest, path: path.Join("/", dest)}
	for range maxLinks {
		st, err := c.stat(ctx, e.path, false)
		if errors.Is(err, fs.ErrNotExist) {
			return e, nil // its folder has to be there, which the guest sees
		}
		if err != nil {
			return e, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			e.exists, e.folder = true, st.Mode&unix.S_IFMT == unix.S_IFDIR
			return e, nil
		}
		e.path = path.Join("/", st.Target)
	}
	return e, fmt.Errorf("%s:%s: too many links", c.Label(), dest)
}

// stat asks the guest what is at a path.
func (c *Container) stat(ctx context.Context, path string, follow bool) (st proto.PathStat, err error) {
	var out limited
	err = c.archive(ctx, proto.Archive{Do: proto.Stat, Path: path, Follow: follow}, nil, &out)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(out.Bytes(), &st); err != nil {
		return st, fmt.Errorf("container %s: what the guest says of %s: %w", c.Label(), path, err)
	}
	return st, nil
}

// notCopied is what the guest could not do.
type notCopied struct {
	text    string
	missing bool // for want of a file
}

func (e notCopied) Error() string        { return e.text }
func (e notCopied) Is(target error) bool { return e.missing && target == fs.ErrNotExist }

// archive has the guest copy files.
func (c *Container) archive(ctx context.Context, a proto.Archive, in io.Reader, out io.Writer) error {
	var complaint limited
	exit, err := c.Exec(ctx, control.Exec{Process: proto.Process{Archive: &a, Stdin: in != nil}},
		Client{Stdin: in, Stdout: out, Stderr: &complaint})
	switch {
	case err != nil:
		return err
	case exit.Error != "":
		return fmt.Errorf("container %s: %s", c.Label(), exit.Error)
	case exit.Code != 0:
		text := strings.TrimSpace(printable(complaint.String()))
		if text == "" {
			text = fmt.Sprintf("the copy ended with status %d", exit.Code)
		}
		return notCopied{fmt.Sprintf("container %s: %s", c.Label(), text), exit.Code == statusMissing}
	}
	return nil
}

// statusMissing is proto.Archive's exit status for want of a file.
const statusMissing = 2

// maxSaid bounds what a guest says beside the data, in bytes.
const maxSaid = 64 << 10

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxSaid - l.Len(); room > 0 {
		_, _ = l.Buffer.Write(p[:min(room, len(p))]) // never fails: bytes.Buffer
	}
	return len(p), nil
}
