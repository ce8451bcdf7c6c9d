package ninep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// readdir lists a folder. An offset is that of the host's file system, which stays
// good while entries come and go.
func (c *conn) readdir(q *request) error {
	n, offset, count := q.u32(), q.u64(), int(q.u32())
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	if !f.open || f.mode != unix.S_IFDIR || offset > math.MaxInt64 {
		return unix.EBADF
	}
	f.dir.Lock()
	defer f.dir.Unlock()
	if offset != f.dir.offset {
		if _, err := unix.Seek(f.fd, int64(offset), unix.SEEK_SET); err != nil {
			return err
		}
	}
	f.dir.offset = math.MaxUint64 // unknown, until all that was read is told
	room := min(count, c.size-overhead)
	entries := make([]byte, max(room, direntSize))
	got, err := retried(func() (int, error) { return unix.Getdents(f.fd, entries) })
	if err != nil {
		return err
	}
	q.out.u32(0)
	last, all := f.list(q.out, entries[:got], overhead+room)
	if got > 0 && len(q.out.p) == overhead {
		return unix.EINVAL // there is no room for a single one
	}
	if all && got > 0 {
		f.dir.offset = last
	}
	binary.LittleEndian.PutUint32(q.out.p[headerSize:], uint32(len(q.out.p)-overhead))
	return nil
}

// direntSize is that of the longest struct linux_dirent64, getdents64(2).
const direntSize = 19 + maxName + 1 + 7

// list writes entries until the reply is full. It returns the offset behind the last,
// and whether all are there.
func (f *fid) list(out *reply, entries []byte, full int) (last uint64, all bool) {
	for len(entries) > 0 {
		e := fields{p: entries}
		ino, offset, size, kind := e.u64(), e.u64(), int(e.u16()), e.u8()
		if e.short || size > len(entries) || size < 19 {
			return 0, false // the kernel makes none such
		}
		name, _, _ := bytes.Cut(entries[19:size], []byte{0})
		if len(out.p)+24+len(name) > full {
			return last, false
		}
		id := qid{path: ino}
		switch {
		case string(name) == ".." && f.root:
			id = f.qid // the root's is its own
		case kind == unix.DT_DIR:
			id.kind = qidDir
		case kind == unix.DT_LNK:
			id.kind = qidSymlink
		}
		out.qid(id)
		out.u64(offset)
		out.u8(kind)
		out.text(string(name))
		last, entries = offset, entries[size:]
	}
	return last, true
}

// mkdir makes a folder.
func (c *conn) mkdir(q *request) error {
	n := q.u32()
	name, err := q.name()
	mode, gid := q.u32(), q.u32()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	at, err := c.folder(q, n)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(at.fd, name, mode&0o1777); err != nil {
		return err
	}
	return c.made(q, at, name, gid, mode&0o7000, unix.AT_REMOVEDIR)
}

func (c *conn) symlink(q *request) error {
	n := q.u32()
	name, err := q.name()
	target, gid := q.text(), q.u32()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	at, err := c.folder(q, n)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(target, at.fd, name); err != nil {
		return err
	}
	return c.made(q, at, name, gid, 0, 0)
}

// mknod makes a file, a FIFO or a socket: names, with which a guest's kernel does
// what is to be done. A device would be the host's, for whoever opens it there.
func (c *conn) mknod(q *request) error {
	n := q.u32()
	name, err := q.name()
	mode, _, _, gid := q.u32(), q.u32(), q.u32(), q.u32()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	at, err := c.folder(q, n)
	if err != nil {
		return err
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return unix.EPERM
	}
	if err := unix.Mknodat(at.fd, name, mode&(unix.S_IFMT|0o777), 0); err != nil {
		return err
	}
	return c.made(q, at, name, gid, mode&0o7000, 0)
}

// made gives what was just made its owner, and the bits of its mode that an owner's
// change takes away, and answers with its name. It takes it away if it cannot.
func (c *conn) made(q *request, at *fid, name string, gid, bits uint32, removal int) error {
	fd, err := beneath(at.fd, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	err = c.server.ids.settle(fd, at.uid, gid)
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && bits != 0 {
		err = chmod(fd, &st, st.Mode&0o7777|bits)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(at.fd, name, removal))
	}
	q.out.qid(at.share.qidOf(&st))
	return nil
}

// link gives a file a further name.
func (c *conn) link(q *request) error {
	n, target := q.u32(), q.u32()
	name, err := q.name()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	at, err := c.folder(q, n)
	if err != nil {
		return err
	}
	f, err := c.fid(q, target)
	switch {
	case err != nil:
		return err
	case f.share != at.share:
		return unix.EXDEV
	}
	return unix.Linkat(unix.AT_FDCWD, procPath(f.fd), at.fd, name, unix.AT_SYMLINK_FOLLOW)
}

func (c *conn) rename(q *request) error {
	n := q.u32()
	name, err := q.name()
	to := q.u32()
	newName, err2 := q.name()
	if err := errors.Join(err, err2, q.end()); err != nil {
		return err
	}
	from, err := c.folder(q, n)
	if err != nil {
		return err
	}
	at, err := c.folder(q, to)
	switch {
	case err != nil:
		return err
	case from.share != at.share:
		return unix.EXDEV
	}
	return unix.Renameat(from.fd, name, at.fd, newName)
}

func (c *conn) unlink(q *request) error {
	n := q.u32()
	name, err := q.name()
	flags := q.u32()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	at, err := c.folder(q, n)
	if err != nil {
		return err
	}
	return unix.Unlinkat(at.fd, name, int(flags&unix.AT_REMOVEDIR))
}

// readlink tells where a link leads: the guest's kernel follows it, in the guest.
func (c *conn) readlink(q *request) error {
	f, err := c.one(q)
	if err != nil {
		return err
	}
	if f.mode != unix.S_IFLNK {
		return unix.EINVAL
	}
	p := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(f.fd, "", p)
	if err != nil {
		return err
	}
	q.out.text(string(p[:n]))
	return nil
}
