package ninep

import (
	"math"

	"golang.org/x/sys/unix"
)

// basicAttrs are what getattr tells: all that stat(2) does.
const basicAttrs = 0x7ff

func (c *conn) getattr(q *request) error {
	n := q.u32()
	_ = q.u64() // what is wanted of it; it costs the same
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	if f.xattr != nil {
		return unix.EBADF
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	ids := c.server.ids
	q.out.u64(basicAttrs)
	q.out.qid(f.qid)
	q.out.u32(st.Mode)
	q.out.u32(ids.shown(st.Uid, ids.uid))
	q.out.u32(ids.shown(st.Gid, ids.gid))
	for _, v := range []uint64{
		st.Nlink, st.Rdev, uint64(st.Size), uint64(st.Blksize), uint64(st.Blocks),
		uint64(st.Atim.Sec), uint64(st.Atim.Nsec), uint64(st.Mtim.Sec), uint64(st.Mtim.Nsec), uint64(st.Ctim.Sec), uint64(st.Ctim.Nsec),
		0, 0, // its birth
		0, 0, // its generation, and its data's version
	} {
		q.out.u64(v)
	}
	return nil
}

// Attributes that setattr changes.
const (
	setMode     = 0x001
	setUID      = 0x002
	setGID      = 0x004
	setSize     = 0x008
	setATime    = 0x010
	setMTime    = 0x020
	setATimeOwn = 0x080 // to a time that is given
	setMTimeOwn = 0x100
)

// change is what setattr does.
type change struct {
	valid, mode, uid, gid uint32
	size                  uint64
	atime, mtime          unix.Timespec
}

func (c *conn) setattr(q *request) error {
	n := q.u32()
	ch := change{valid: q.u32(), mode: q.u32(), uid: q.u32(), gid: q.u32(), size: q.u64()}
	ch.atime = unix.Timespec{Sec: int64(q.u64()), Nsec: int64(q.u64())}
	ch.mtime = unix.Timespec{Sec: int64(q.u64()), Nsec: int64(q.u64())}
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	switch {
	case err != nil:
		return err
	case f.xattr != nil:
		return unix.EBADF
	case f.share.ReadOnly:
		return unix.EROFS
	}
	return c.change(f, ch)
}

// change changes a file's attributes: the owner first, which takes bits of the mode
// away, and the times last, which the others change.
func (c *conn) change(f *fid, ch change) error {
	if ch.valid&(setUID|setGID) != 0 {
		if ch.valid&setUID == 0 {
			ch.uid = noID
		}
		if ch.valid&setGID == 0 {
			ch.gid = noID
		}
		if err := c.server.ids.chown(f.fd, ch.uid, ch.gid); err != nil {
			return err
		}
	}
	if ch.valid&setMode != 0 {
		if err := chmod(f.fd, &unix.Stat_t{Mode: f.mode}, ch.mode&0o7777); err != nil {
			return err
		}
	}
	if ch.valid&setSize != 0 {
		if err := f.truncate(ch.size); err != nil {
			return err
		}
	}
	if ch.valid&(setATime|setMTime) == 0 {
		return nil
	}
	times := []unix.Timespec{ch.time(setATime, setATimeOwn, ch.atime), ch.time(setMTime, setMTimeOwn, ch.mtime)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(f.fd), times, 0)
}

// time is what utimensat(2) is told of one time.
func (ch change) time(bit, own uint32, t unix.Timespec) unix.Timespec {
	switch {
	case ch.valid&bit == 0:
		t.Nsec = unix.UTIME_OMIT
	case ch.valid&own == 0:
		t.Nsec = unix.UTIME_NOW
	case t.Nsec < 0 || t.Nsec > 999_999_999:
		t.Nsec = 0
	}
	return t
}

// chmod changes a mode. A link has none.
func chmod(fd int, st *unix.Stat_t, mode uint32) error {
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	return unix.Fchmodat(unix.AT_FDCWD, procPath(fd), mode, 0)
}

func (f *fid) truncate(size uint64) error {
	switch {
	case f.mode != unix.S_IFREG || size > math.MaxInt64:
		return unix.EINVAL
	case f.open && f.flags&unix.O_ACCMODE != unix.O_RDONLY:
		_, err := retried(func() (int, error) { return 0, unix.Ftruncate(f.fd, int64(size)) })
		return err
	}
	_, err := retried(func() (int, error) { return 0, unix.Truncate(procPath(f.fd), int64(size)) })
	return err
}

// magic is what statfs calls the file system: V9FS_MAGIC of linux/magic.h.
const magic = 0x01021997

func (c *conn) statfs(q *request) error {
	f, err := c.one(q)
	if err != nil {
		return err
	}
	if f.fd < 0 {
		return unix.EBADF
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &st); err != nil {
		return err
	}
	q.out.u32(magic)
	q.out.u32(uint32(st.Bsize))
	for _, v := range []uint64{st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, f.share.dev} {
		q.out.u64(v)
	}
	q.out.u32(maxName)
	return nil
}
