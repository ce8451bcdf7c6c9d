package ninep

import (
	"bytes"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxXattr bounds an extended attribute, and the list of them, in bytes: as Linux
// does (XATTR_SIZE_MAX).
const maxXattr = 64 << 10

// xattr is an extended attribute while it is read, or until it is set.
type xattr struct {
	name  string
	set   bool
	flags int

	sync.Mutex
	value []byte
}

// own says whether a guest may see an attribute. Others mean something to the
// host: who may do what (security.*), or how file systems are laid over each other
// (trusted.*).
func own(name string) bool { return strings.HasPrefix(name, "user.") }

// keep notes that there is one more in memory.
func (c *conn) keep() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.xattrs >= maxXattrs {
		return unix.ENFILE
	}
	c.xattrs++
	return nil
}

// xattrWalk makes a file of an attribute, or of the list of them, to be read.
func (c *conn) xattrWalk(q *request) error {
	n, to, name := q.u32(), q.u32(), q.text()
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
	value, err := f.getXattr(name)
	if err != nil {
		return err
	}
	if err := c.keep(); err != nil {
		return err
	}
	x := &fid{share: f.share, uid: f.uid, fd: -1, mode: f.mode, qid: f.qid, xattr: &xattr{name: name, value: value}}
	q.out.u64(uint64(len(value)))
	return c.put(to, x, nil)
}

func (f *fid) getXattr(name string) ([]byte, error) {
	p := make([]byte, maxXattr)
	if name == "" {
		n, err := unix.Listxattr(procPath(f.fd), p)
		if err != nil {
			return nil, err
		}
		var names []byte
		for _, name := range bytes.SplitAfter(p[:n], []byte{0}) {
			if own(string(name)) {
				names = append(names, name...)
			}
		}
		return names, nil
	}
	if !own(name) {
		return nil, unix.EOPNOTSUPP
	}
	n, err := unix.Getxattr(procPath(f.fd), name, p)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(p[:n]), nil
}

// xattrCreate makes a file of an attribute, to be written; it is set when the file is
// closed.
func (c *conn) xattrCreate(q *request) error {
	n, name, size, flags := q.u32(), q.text(), q.u64(), int(q.u32())
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	switch {
	case err != nil:
		return err
	case f.xattr != nil || f.open:
		return unix.EBADF
	case f.share.ReadOnly:
		return unix.EROFS
	case !own(name):
		return unix.EOPNOTSUPP
	case size > maxXattr:
		return unix.E2BIG
	}
	x, err := c.again(f)
	if err != nil {
		return err
	}
	if err := c.keep(); err != nil {
		x.refs = 1
		c.discard(x)
		return err
	}
	x.xattr = &xattr{name: name, set: true, flags: flags, value: make([]byte, 0, size)}
	return c.put(n, x, f)
}

func (x *xattr) read(p []byte, offset uint64) (int, error) {
	if x.set {
		return 0, unix.EBADF
	}
	if offset >= uint64(len(x.value)) {
		return 0, nil
	}
	return copy(p, x.value[offset:]), nil
}

// write takes the next part of a value.
func (x *xattr) write(p []byte, offset uint64) (int, error) {
	x.Lock()
	defer x.Unlock()
	if !x.set || offset != uint64(len(x.value)) {
		return 0, unix.EBADF
	}
	if len(p) > cap(x.value)-len(x.value) {
		return 0, unix.ENOSPC
	}
	x.value = append(x.value, p...)
	return len(p), nil
}

// commit sets the attribute, once all of it is there. One of no bytes is removed
// (v9fs_xattr_set in the kernel's fs/9p/xattr.c), if it is to be replaced.
func (x *xattr) commit(f *fid) error {
	x.Lock()
	defer x.Unlock()
	switch {
	case !x.set:
		return nil
	case len(x.value) != cap(x.value):
		return unix.EINVAL
	case len(x.value) == 0 && x.flags&unix.XATTR_REPLACE != 0:
		return unix.Removexattr(procPath(f.fd), x.name)
	}
	err := unix.Setxattr(procPath(f.fd), x.name, x.value, x.flags)
	if errors.Is(err, unix.EPERM) && f.mode != unix.S_IFREG && f.mode != unix.S_IFDIR {
		return unix.EOPNOTSUPP // links and FIFOs have none
	}
	return err
}
