package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// packer writes a tar of files with names below base.
type packer struct {
	out  *tar.Writer
	top  string // a path of the file system
	base string // what it is called in the tar
	// links are the first names of files with several.
	links map[inode]string
}

type inode struct{ dev, ino uint64 }

// Pack writes path and all below it as a tar, in which path is called name; follow
// means what a link at path points to.
func Pack(path, name string, follow bool, out io.Writer) error {
	p := &packer{out: tar.NewWriter(out), top: path, base: name, links: map[inode]string{}}
	if follow {
		top, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		p.top = top
	}
	if p.base == "/" {
		p.base = "."
	}
	if err := filepath.WalkDir(p.top, p.add); err != nil {
		return err
	}
	return p.out.Close()
}

// add writes one file. One that has gone since it was listed is left out.
func (p *packer) add(path string, _ fs.DirEntry, err error) error {
	if err == nil {
		err = p.write(path)
	}
	if errors.Is(err, fs.ErrNotExist) && path != p.top {
		return nil
	}
	return err
}

func (p *packer) write(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	h, err := header(path, st)
	if errors.Is(err, errKind) && path != p.top {
		return nil // sockets are left out, as tar(1) does
	}
	if err != nil {
		return err
	}
	h.Name = p.base + strings.TrimPrefix(path, strings.TrimSuffix(p.top, "/"))
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if st.Nlink > 1 && h.Typeflag == tar.TypeReg {
		id := inode{st.Dev, st.Ino}
		if first, ok := p.links[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.out.WriteHeader(h)
		}
		p.links[id] = h.Name
	}
	if h.Typeflag != tar.TypeReg {
		return p.out.WriteHeader(h)
	}
	return p.file(path, h)
}

// file writes a regular file with its data: as many bytes as the header says,
// even if it grows or shrinks meanwhile.
func (p *packer) file(path string, h *tar.Header) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.out, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		return fmt.Errorf("%s shrank from %d to %d bytes while it was read", path, h.Size, n)
	}
	return err
}

// header describes a file as a tar does.
func header(path string, st unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Format: tar.FormatPAX,
		Mode:   int64(st.Mode & 0o7777),
		Uid:    int(st.Uid), Gid: int(st.Gid),
		ModTime: fileTime(st.Mtim),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("%s: %w", path, errKind)
	}
	return h, nil
}
