package ninep

import (
	"sync"

	"golang.org/x/sys/unix"
)

// fid is a file as a client names it. What it is does not change: a fid that is
// opened is another one of the same number.
type fid struct {
	share *share
	uid   uint32 // the guest's user that it acts for
	fd    int
	mode  uint32 // its type, as of S_IFMT
	qid   qid
	root  bool
	// flags are those it was opened with; an fd of one that is not open is of O_PATH.
	open  bool
	flags int

	refs  int // guarded by conn.mu: one of conn.fids, and one for each request
	dir   dir
	xattr *xattr // it stands for an extended attribute of the file
}

// dir is where an open folder was read up to.
type dir struct {
	sync.Mutex
	offset uint64
}

// fid finds a file, which stays open until the request is answered.
func (c *conn) fid(q *request, n uint32) (*fid, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fids[n]
	if f == nil {
		return nil, unix.EBADF
	}
	f.refs++
	q.held = append(q.held, f)
	return f, nil
}

// one reads the number of a file, which is the request's last field or its only one.
func (c *conn) one(q *request) (*fid, error) {
	n := q.u32()
	if err := q.end(); err != nil {
		return nil, err
	}
	return c.fid(q, n)
}

// folder finds a folder whose entries the request is to change.
func (c *conn) folder(q *request, n uint32) (*fid, error) {
	f, err := c.fid(q, n)
	switch {
	case err != nil:
		return nil, err
	case f.mode != unix.S_IFDIR:
		return nil, unix.ENOTDIR
	case f.share.ReadOnly:
		return nil, unix.EROFS
	}
	return f, nil
}

// drop gives back one use of a file. It needs mu.
func (c *conn) drop(f *fid) {
	if f.refs--; f.refs > 0 {
		return
	}
	if f.xattr != nil {
		c.xattrs--
	}
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		c.server.files.Add(-1)
	}
}

// put gives a new file a number. Another file that has it is given back, if that is
// old.
func (c *conn) put(n uint32, f, old *fid) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.refs = 1
	if c.fids[n] != old || n == noFID {
		c.drop(f)
		return unix.EBADF
	}
	c.fids[n] = f
	if old != nil {
		c.drop(old)
	}
	return nil
}

// newFID makes a file of a descriptor, which it takes.
func (c *conn) newFID(fd int, share *share, uid uint32) (*fid, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && c.server.files.Add(1) > c.server.max {
		c.server.files.Add(-1)
		err = unix.ENFILE
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &fid{share: share, uid: uid, fd: fd, mode: st.Mode & unix.S_IFMT, qid: share.qidOf(&st)}, nil
}

// discard gives back a file that never got a number.
func (c *conn) discard(f *fid) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(f)
}

// again makes another file of the same.
func (c *conn) again(f *fid) (*fid, error) {
	flags := unix.O_PATH | unix.O_CLOEXEC
	fd, err := unix.Open(procPath(f.fd), flags, 0) // a copy of the descriptor would share its place, once it is open
	if err != nil {
		return nil, err
	}
	n, err := c.newFID(fd, f.share, f.uid)
	if err == nil {
		n.root = f.root
	}
	return n, err
}

// clunk forgets a file. What an extended attribute was to be is set then, as the
// protocol has it.
func (c *conn) clunk(q *request) error {
	n := q.u32()
	if err := q.end(); err != nil {
		return err
	}
	f, err := c.fid(q, n)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.fids[n] == f {
		delete(c.fids, n)
		c.drop(f)
	}
	c.mu.Unlock()
	switch {
	case q.kind == tremove: // by a file without a name; v9fs uses tunlinkat
		return unix.EOPNOTSUPP
	case f.xattr != nil:
		return f.xattr.commit(f)
	}
	return nil
}
