package ninep

import (
	"errors"
	"io"
	"math"

	"golang.org/x/sys/unix"
)

// What a lock is answered with.
const (
	lockDone    = 0
	lockBlocked = 1
	maxLock     = unix.F_UNLCK
)

// region reads what lock and getLock have in common: a lock of fcntl(2), whose types
// have the same numbers here.
func (q *request) region(flags bool) (lk unix.Flock_t, err error) {
	kind := q.u8()
	if flags {
		_ = q.u32() // to wait: the client does, and asks again
	}
	start, length := q.u64(), q.u64()
	if kind > maxLock || start > math.MaxInt64 || length > math.MaxInt64 {
		return lk, unix.EINVAL
	}
	lk = unix.Flock_t{Type: int16(kind), Whence: io.SeekStart, Start: int64(start), Len: int64(length)}
	return lk, nil
}

// lock locks a part of a file, against the host and other guests: the guest's kernel
// arbitrates among its own processes first. A lock is its open file's, and goes with
// that.
func (c *conn) lock(q *request) error {
	n := q.u32()
	lk, err := q.region(true)
	_, _ = q.u32(), q.text() // whose it is: a process in the guest, and its host name
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	if !f.open {
		return unix.EBADF
	}
	err = unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &lk)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		q.out.u8(lockBlocked)
	case err != nil:
		return err
	default:
		q.out.u8(lockDone)
	}
	return nil
}

// getLock tells of a lock that is in the way. Whose it is on the host is not the
// guest's to know.
func (c *conn) getLock(q *request) error {
	n := q.u32()
	lk, err := q.region(false)
	_, client := q.u32(), q.text()
	if err := errors.Join(err, q.end()); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	if !f.open {
		return unix.EBADF
	}
	if lk.Type == unix.F_UNLCK { // Linux does not say which it wants (v9fs_file_getlock in fs/9p/vfs_file.c)
		lk.Type = unix.F_WRLCK
	}
	if err := unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_GETLK, &lk); err != nil {
		return err
	}
	q.out.u8(uint8(lk.Type))
	q.out.u64(uint64(lk.Start))
	q.out.u64(uint64(lk.Len))
	q.out.u32(0)
	q.out.text(client)
	return nil
}
