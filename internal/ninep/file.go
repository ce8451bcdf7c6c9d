package ninep

import (
	"errors"
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

// attach names the root of a share, by its number.
func (c *conn) attach(q *request) error {
	n, auth := q.u32(), q.u32()
	_ = q.text() // the user's name: uid is what counts
	name, uid := q.text(), q.u32()
	if err := q.end(); err != nil {
		return err
	}
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(c.server.shares) || auth != noFID {
		return unix.ENOENT
	}
	s := c.server.shares[i]
	fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f, err := c.newFID(fd, s, uid)
	if err != nil {
		return err
	}
	f.root = true
	q.out.qid(f.qid)
	return c.put(n, f, nil)
}

// walk goes down from one file to another, a name at a time, as far as there is
// something.
func (c *conn) walk(q *request) error {
	n, to, names := q.u32(), q.u32(), int(q.u16())
	from, err := c.fid(q, n)
	if err != nil {
		return err
	}
	if names > maxWalk || from.xattr != nil {
		return unix.EINVAL
	}
	at, err := c.again(from)
	if err != nil {
		return err
	}
	at.refs = 1
	q.out.u16(0)
	for i := range names {
		next, err := c.step(q, at)
		c.discard(at)
		if err != nil {
			return q.cut(i, err)
		}
		at = next
		at.refs = 1
		q.out.qid(at.qid)
	}
	if err := q.end(); err != nil {
		c.discard(at)
		return err
	}
	q.out.p[headerSize] = byte(names)
	if n == to {
		return c.put(to, at, from)
	}
	return c.put(to, at, nil)
}

// cut answers a walk that came through n names: if it came through none, by why.
func (q *request) cut(n int, why error) error {
	if n == 0 || errors.Is(why, errMalformed) {
		return why
	}
	q.out.p[headerSize] = byte(n)
	return nil
}

// step takes one name of a walk.
func (c *conn) step(q *request, at *fid) (*fid, error) {
	name, err := q.name()
	if err != nil {
		return nil, err
	}
	if at.mode != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	fd, err := beneath(at.fd, name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	return c.newFID(fd, at.share, at.uid)
}

// taken are those of a client's flags of open(2) that mean something here. They are
// numbered as on x86-64.
const taken = unix.O_ACCMODE | unix.O_TRUNC | unix.O_APPEND | unix.O_DSYNC | unix.O_SYNC

// open opens a file. Its type cannot change, and what would do more than that when
// it is opened, as a device or a FIFO, is left alone.
func (c *conn) open(q *request) error {
	n, flags := q.u32(), int(q.u32())
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	opened, err := c.opened(f, flags)
	if err != nil {
		return err
	}
	q.out.qid(opened.qid)
	q.out.u32(0) // as much at once as a message holds
	return c.put(n, opened, f)
}

// opened is a file like f, opened.
func (c *conn) opened(f *fid, flags int) (*fid, error) {
	flags &= taken
	writes := flags&(unix.O_ACCMODE|unix.O_TRUNC) != 0
	switch {
	case f.open || f.xattr != nil:
		return nil, unix.EBADF
	case f.mode != unix.S_IFREG && f.mode != unix.S_IFDIR:
		return nil, unix.EOPNOTSUPP
	case f.mode == unix.S_IFDIR && writes:
		return nil, unix.EISDIR
	case f.share.ReadOnly && writes:
		return nil, unix.EROFS
	}
	fd, err := unix.Open(procPath(f.fd), flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	o, err := c.newFID(fd, f.share, f.uid)
	if err != nil {
		return nil, err
	}
	o.open, o.flags, o.root = true, flags, f.root
	return o, nil
}

// create makes a file and opens it.
func (c *conn) create(q *request) error {
	n := q.u32()
	name, err := q.name()
	flags, mode, gid := int(q.u32()), q.u32(), q.u32()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	at, err := c.folder(q, n)
	if err != nil {
		return err
	}
	if at.open {
		return unix.EBADF
	}
	const exclusive = unix.O_CREAT | unix.O_EXCL
	fd, err := beneath(at.fd, name, flags&taken|exclusive|unix.O_NONBLOCK|unix.O_NOCTTY, mode&0o777)
	if errors.Is(err, unix.EEXIST) && flags&unix.O_EXCL == 0 {
		return c.openEntry(q, n, at, name, flags)
	}
	if err != nil {
		return err
	}
	err = c.server.ids.settle(fd, at.uid, gid)
	if err == nil && mode&0o7000 != 0 {
		err = unix.Fchmod(fd, mode&0o7777)
	}
	if err != nil {
		_ = unix.Close(fd)
		return errors.Join(err, unix.Unlinkat(at.fd, name, 0))
	}
	f, err := c.newFID(fd, at.share, at.uid)
	if err != nil {
		return err
	}
	f.open, f.flags = true, flags&taken
	q.out.qid(f.qid)
	q.out.u32(0)
	return c.put(n, f, at)
}

// openEntry opens what somebody has made meanwhile.
func (c *conn) openEntry(q *request, n uint32, at *fid, name string, flags int) error {
	fd, err := beneath(at.fd, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	f, err := c.newFID(fd, at.share, at.uid)
	if err != nil {
		return err
	}
	f.refs = 1
	defer c.discard(f)
	opened, err := c.opened(f, flags)
	if err != nil {
		return err
	}
	q.out.qid(opened.qid)
	q.out.u32(0)
	return c.put(n, opened, at)
}

// overhead is the part of a message of data that is not data: its header, and its
// length.
const overhead = headerSize + 4

// read reads a file, or an extended attribute.
func (c *conn) read(q *request) error {
	n, offset, count := q.u32(), q.u64(), int(q.u32())
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	p := q.room(min(count, c.size-overhead))
	got := 0
	switch {
	case f.xattr != nil:
		got, err = f.xattr.read(p, offset)
	case f.mode == unix.S_IFDIR:
		err = unix.EISDIR
	case !f.open || offset > math.MaxInt64:
		err = unix.EBADF
	default:
		got, err = retried(func() (int, error) { return unix.Pread(f.fd, p, int64(offset)) })
	}
	if err != nil {
		return err
	}
	q.fill(got)
	return nil
}

// room makes room for n bytes of data in the reply, which fill ends.
func (q *request) room(n int) []byte {
	const data = overhead
	if cap(q.out.p) < data+n {
		q.out.p = append(make([]byte, 0, data+n), q.out.p...)
	}
	return q.out.p[data : data+n]
}

// fill says how much of the room is data.
func (q *request) fill(n int) {
	q.out.u32(uint32(n))
	q.out.p = q.out.p[:overhead+n]
}

func (c *conn) write(q *request) error {
	n, offset, count := q.u32(), q.u64(), int(q.u32())
	p := q.take(min(count, maxMessage))
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	done := 0
	switch {
	case f.xattr != nil:
		done, err = f.xattr.write(p, offset)
	case !f.open || offset > math.MaxInt64:
		err = unix.EBADF
	default:
		done, err = retried(func() (int, error) { return unix.Pwrite(f.fd, p, int64(offset)) })
	}
	if err != nil {
		return err
	}
	q.out.u32(uint32(done))
	return nil
}

// retried makes a system call again that a signal of Go's scheduler interrupted.
func retried(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (c *conn) fsync(q *request) error {
	n := q.u32()
	onlyData := len(q.p) > 0 && q.u32() != 0 // an older client does not say
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	if !f.open {
		return unix.EBADF
	}
	_, err = retried(func() (int, error) {
		if onlyData {
			return 0, unix.Fdatasync(f.fd)
		}
		return 0, unix.Fsync(f.fd)
	})
	return err
}
