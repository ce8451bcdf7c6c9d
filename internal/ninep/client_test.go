package ninep

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// root is the number of the root in these tests.
const root = uint32(0)

// client speaks the protocol, one request at a time.
type client struct {
	t    testing.TB
	conn net.Conn
	fids uint32
}

// serve serves folders, writable unless they are in readOnly, to as many clients as
// are asked for.
func serve(t testing.TB, maxFiles int, shares ...Share) func() *client {
	t.Helper()
	s, err := New(shares, maxFiles)
	if err != nil {
		t.Fatal(err)
	}
	return func() *client { return connect(t, s) }
}

// shareOf opens a folder.
func shareOf(t testing.TB, dir string, readOnly bool) Share {
	t.Helper()
	f, err := os.OpenFile(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Share{FD: int(f.Fd()), ReadOnly: readOnly}
}

// connect makes a client of a server, whose root is the first share's.
func connect(t testing.TB, s *Server) *client {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		_ = s.Serve(far)
	}()
	t.Cleanup(func() {
		near.Close()
		<-done
	})
	c := &client{t: t, conn: near}
	v := c.must(tversion, uint32(1<<20), "9P2000.L")
	if size, version := v.u32(), v.text(); size != maxMessage || version != "9P2000.L" {
		t.Fatalf("version %q of %d bytes", version, size)
	}
	c.must(tattach, root, uint32(noFID), "nobody", "0", uint32(os.Geteuid()))
	return c
}

// frame is a message.
func frame(k kind, tag uint16, body ...any) []byte {
	r := reply{p: make([]byte, headerSize)}
	for _, v := range body {
		switch v := v.(type) {
		case uint8:
			r.u8(v)
		case uint16:
			r.u16(v)
		case uint32:
			r.u32(v)
		case uint64:
			r.u64(v)
		case string:
			r.text(v)
		case []byte:
			r.p = append(r.p, v...)
		}
	}
	r.seal(k, tag)
	return r.p
}

// hear reads a message.
func hear(in io.Reader) (k kind, tag uint16, f *fields, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return 0, 0, nil, err
	}
	body := make([]byte, binary.LittleEndian.Uint32(header[:])-headerSize)
	_, err = io.ReadFull(in, body)
	return kind(header[4]), binary.LittleEndian.Uint16(header[5:]), &fields{p: body}, err
}

// call makes a request.
func (c *client) call(k kind, body ...any) (*fields, error) {
	c.t.Helper()
	if _, err := c.conn.Write(frame(k, 1, body...)); err != nil {
		return nil, err
	}
	got, tag, f, err := hear(c.conn)
	switch {
	case err != nil:
		return nil, err
	case got == rlerror:
		return nil, unix.Errno(f.u32())
	case got != k+1 || tag != 1:
		c.t.Fatalf("request %d was answered by %d, tag %d", k, got, tag)
	}
	return f, nil
}

// must makes a request that succeeds.
func (c *client) must(k kind, body ...any) *fields {
	c.t.Helper()
	f, err := c.call(k, body...)
	if err != nil {
		c.t.Fatalf("request %d %v: %v", k, body, err)
	}
	return f
}

// refused makes a request that fails.
func (c *client) refused(want error, k kind, body ...any) {
	c.t.Helper()
	if _, err := c.call(k, body...); !errors.Is(err, want) {
		c.t.Errorf("request %d %v: %v, want %v", k, body, err, want)
	}
}

// try walks from the root.
func (c *client) try(names ...string) (uint32, error) {
	c.t.Helper()
	c.fids++
	body := []any{root, c.fids, uint16(len(names))}
	for _, n := range names {
		body = append(body, n)
	}
	f, err := c.call(twalk, body...)
	if err == nil && int(f.u16()) != len(names) {
		err = unix.ENOENT
	}
	return c.fids, err
}

func (c *client) walk(names ...string) uint32 {
	c.t.Helper()
	fid, err := c.try(names...)
	if err != nil {
		c.t.Fatalf("walk %q: %v", names, err)
	}
	return fid
}

func (c *client) open(flags int, names ...string) uint32 {
	c.t.Helper()
	fid := c.walk(names...)
	c.must(tlopen, fid, uint32(flags))
	return fid
}

func (c *client) create(name string, mode int) uint32 {
	c.t.Helper()
	fid := c.walk()
	c.must(tlcreate, fid, name, uint32(unix.O_RDWR|unix.O_CREAT), uint32(mode), uint32(os.Getegid()))
	return fid
}

func (c *client) read(fid uint32, offset, count int) string {
	c.t.Helper()
	f := c.must(tread, fid, uint64(offset), uint32(count))
	return string(f.take(int(f.u32())))
}

func (c *client) write(fid uint32, offset int, text string) {
	c.t.Helper()
	f := c.must(twrite, fid, uint64(offset), uint32(len(text)), []byte(text))
	if n := f.u32(); int(n) != len(text) {
		c.t.Fatalf("%d bytes of %d were written", n, len(text))
	}
}

// attrs are what getattr tells, in part.
type attrs struct {
	mode, uid, gid    uint32
	links, rdev, size uint64
	id                qid
}

func (c *client) attrs(fid uint32) (a attrs) {
	c.t.Helper()
	f := c.must(tgetattr, fid, uint64(basicAttrs))
	_ = f.u64()
	a.id.kind = f.u8()
	_ = f.u32()
	a.id.path = f.u64()
	a.mode, a.uid, a.gid, a.links, a.rdev, a.size = f.u32(), f.u32(), f.u32(), f.u64(), f.u64(), f.u64()
	return a
}

// set changes attributes.
func (c *client) set(fid uint32, ch change) error {
	c.t.Helper()
	_, err := c.call(tsetattr, fid, ch.valid, ch.mode, ch.uid, ch.gid, ch.size,
		uint64(ch.atime.Sec), uint64(ch.atime.Nsec), uint64(ch.mtime.Sec), uint64(ch.mtime.Nsec))
	return err
}

// list reads a folder, some bytes at a time.
func (c *client) list(fid uint32, count int) []string {
	c.t.Helper()
	var names []string
	for offset := uint64(0); ; {
		f := c.must(treaddir, fid, offset, uint32(count))
		if f.u32() == 0 {
			return names
		}
		for len(f.p) > 0 {
			f.take(13)
			offset = f.u64()
			_ = f.u8()
			names = append(names, f.text())
		}
		if f.short {
			c.t.Fatal("a list is cut off")
		}
	}
}
