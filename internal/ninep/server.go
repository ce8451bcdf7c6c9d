// Package ninep serves folders of the host to a guest by 9P2000.L, the protocol of
// Linux's v9fs.
//
// A client names files by numbers, fids. Behind each is a file descriptor of the very
// file, opened by openat2 beneath another one, a single name at a time and without
// following links: there are no paths, so there is none to leave the folder by, and
// a file that is renamed or removed meanwhile stays the file it is. What is neither
// a regular file nor a folder is never opened, but by O_PATH.
package ninep

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Share is a folder, or a single file, that is served.
type Share struct {
	// FD is an O_PATH descriptor of it.
	FD int
	// ReadOnly refuses what would change it.
	ReadOnly bool
}

// Server serves shares. Its connections share bounds, and nothing else.
type Server struct {
	shares []*share
	ids    ids
	files  atomic.Int64 // open, of all connections
	max    int64
}

// share is a Share being served.
type share struct {
	Share
	dev uint64
}

// New makes a server that has at most maxFiles files open.
func New(shares []Share, maxFiles int) (*Server, error) {
	s := &Server{ids: ownIDs(), max: int64(maxFiles)}
	for _, sh := range shares {
		var st unix.Stat_t
		if err := unix.Fstat(sh.FD, &st); err != nil {
			return nil, fmt.Errorf("shared folder: %w", err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := tryBeneath(sh.FD); err != nil {
				return nil, err
			}
		}
		s.shares = append(s.shares, &share{sh, st.Dev})
	}
	return s, nil
}

const (
	// maxMessage bounds a message in bytes, and so what a read or write moves.
	maxMessage = 256 << 10
	// minMessage is the shortest bound that a client may ask for.
	minMessage = 4096
	// maxRequests is how many requests of a connection are worked on at once; more
	// wait in its socket.
	maxRequests = 16
	// maxXattrs bounds the extended attributes in memory, for a connection.
	maxXattrs = 64
)

// conn is one client.
type conn struct {
	server *Server
	rw     io.ReadWriteCloser
	in     *bufio.Reader // of rw
	size   int           // of a message at most
	slots  chan *buffer  // one for each request that may be under way

	sending sync.Mutex

	mu     sync.Mutex
	fids   map[uint32]*fid
	tags   map[uint16]chan struct{} // requests under way; closed when they are answered
	xattrs int
}

// buffer is the memory of one request: it is used again for the next.
type buffer struct {
	in  []byte
	out reply
}

// request is one message while it is answered.
type request struct {
	kind kind
	tag  uint16
	fields
	out  *reply
	held []*fid          // to be given back
	wait <-chan struct{} // of a flush: the request it flushes
	done chan struct{}
}

// Serve serves one connection until it ends, or breaks the protocol, and closes it.
func (s *Server) Serve(rw io.ReadWriteCloser) error {
	c := &conn{
		server: s, rw: rw, in: bufio.NewReaderSize(rw, minMessage), size: minMessage, slots: make(chan *buffer, maxRequests),
		fids: map[uint32]*fid{}, tags: map[uint16]chan struct{}{},
	}
	var workers sync.WaitGroup
	defer c.close()
	defer workers.Wait()
	defer rw.Close() // nobody waits for a client that reads no answers
	if err := c.version(); err != nil {
		return err
	}
	for range maxRequests {
		c.slots <- &buffer{}
	}
	for {
		b := <-c.slots
		q, err := c.receive(b)
		if err != nil {
			return err
		}
		workers.Go(func() { // ends with the host's system calls
			c.work(q)
			c.slots <- b
		})
	}
}

// close gives back every file.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, f := range c.fids {
		delete(c.fids, n)
		c.drop(f)
	}
}

// version takes the first message, by which the two agree.
func (c *conn) version() error {
	b := &buffer{}
	q, err := c.receive(b)
	if err != nil {
		return err
	}
	size, version := int64(q.u32()), q.text()
	if q.kind != tversion || q.end() != nil || size < minMessage {
		return errMalformed
	}
	const ours = "9P2000.L"
	if len(version) < len(ours) || version[:len(ours)] != ours {
		q.out.u32(uint32(size))
		q.out.text("unknown")
		return errors.Join(c.send(q, q.kind+1), fmt.Errorf("%w: version %.20q", errMalformed, version))
	}
	c.size = int(min(size, maxMessage))
	q.out.u32(uint32(c.size))
	q.out.text(ours)
	c.mu.Lock()
	delete(c.tags, q.tag)
	c.mu.Unlock()
	return c.send(q, q.kind+1)
}

// receive reads a request.
func (c *conn) receive(b *buffer) (*request, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return nil, err
	}
	h := fields{p: header[:]}
	n := int64(h.u32()) - headerSize
	if n < 0 || n > int64(c.size-headerSize) {
		return nil, fmt.Errorf("%w: %d bytes", errMalformed, n)
	}
	if int64(cap(b.in)) < n {
		b.in = make([]byte, n)
	}
	b.in = b.in[:n]
	b.out.p = append(b.out.p[:0], header[:]...)
	q := &request{kind: kind(h.u8()), tag: h.u16(), out: &b.out, done: make(chan struct{})}
	if _, err := io.ReadFull(c.in, b.in); err != nil {
		return nil, err
	}
	q.p = b.in
	return q, c.begin(q)
}

// begin notes that a request is under way. A flush waits for one that came before
// it, so that none can wait for each other.
func (c *conn) begin(q *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tags[q.tag] != nil {
		return fmt.Errorf("%w: two requests have tag %d", errMalformed, q.tag)
	}
	if q.kind == tflush {
		q.wait = c.tags[q.u16()]
	}
	c.tags[q.tag] = q.done
	return nil
}

// work answers a request.
func (c *conn) work(q *request) {
	answer := q.kind + 1
	err := c.safely(q)
	if err != nil {
		answer = rlerror
		q.out.p = q.out.p[:headerSize]
		q.out.u32(uint32(errnoOf(err)))
	}
	c.mu.Lock()
	for _, f := range q.held {
		c.drop(f)
	}
	delete(c.tags, q.tag) // the client may use it once it has the answer
	c.mu.Unlock()
	_ = c.send(q, answer) // a connection that is gone is noticed by receive
	close(q.done)
	if errors.Is(err, errMalformed) {
		_ = c.rw.Close() // which ends receive
	}
}

// safely answers a request, and takes a panic for a broken connection: it is of one
// client's making, and others are served here.
func (c *conn) safely(q *request) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errMalformed
		}
	}()
	return c.handle(q)
}

func (c *conn) send(q *request, k kind) error {
	q.out.seal(k, q.tag)
	c.sending.Lock()
	defer c.sending.Unlock()
	_, err := c.rw.Write(q.out.p)
	return err
}

// handle does what a request asks for.
func (c *conn) handle(q *request) error {
	switch q.kind {
	case tattach:
		return c.attach(q)
	case twalk:
		return c.walk(q)
	case tclunk, tremove:
		return c.clunk(q)
	case tflush:
		return c.flush(q)
	case tlopen:
		return c.open(q)
	case tlcreate:
		return c.create(q)
	case tread:
		return c.read(q)
	case twrite:
		return c.write(q)
	case tfsync:
		return c.fsync(q)
	case treaddir:
		return c.readdir(q)
	case tgetattr:
		return c.getattr(q)
	case tsetattr:
		return c.setattr(q)
	case tstatfs:
		return c.statfs(q)
	case treadlink:
		return c.readlink(q)
	case tmkdir:
		return c.mkdir(q)
	case tsymlink:
		return c.symlink(q)
	case tmknod:
		return c.mknod(q)
	case tlink:
		return c.link(q)
	case trenameat:
		return c.rename(q)
	case tunlinkat:
		return c.unlink(q)
	case txattrwalk:
		return c.xattrWalk(q)
	case txattrcreate:
		return c.xattrCreate(q)
	case tlock:
		return c.lock(q)
	case tgetlock:
		return c.getLock(q)
	}
	return unix.EOPNOTSUPP // the client does without, or tries another
}

// errnoOf is what a client is told of an error.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EPROTO
}

// flush answers once the request it flushes is answered.
func (c *conn) flush(q *request) error {
	if q.wait != nil {
		<-q.wait
	}
	return q.end()
}
