package ninep

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoWayOut: names that are none, and links, lead nowhere; what is no file is not
// opened, and devices are not made.
func TestNoWayOut(t *testing.T) {
	dir, c := alone(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), "secret")
	gid := uint32(os.Getegid())
	for _, target := range []string{outside, "/proc/self/root", "..", filepath.Join(outside, "secret")} {
		_ = os.Remove(filepath.Join(dir, "link"))
		if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		link := c.walk("link")
		c.refused(unix.EOPNOTSUPP, tlopen, link, uint32(unix.O_RDONLY))
		c.refused(unix.ENOTDIR, twalk, link, uint32(9000), uint16(1), "secret")
		c.refused(unix.ENOTDIR, tmkdir, link, "d", uint32(0o755), gid)
		c.refused(unix.EINVAL, tsetattr, link, uint32(setSize), uint32(0), uint32(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0))
		c.refused(unix.EOPNOTSUPP, tsetattr, link, uint32(setMode), uint32(0o777), uint32(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0))
		if err := c.set(link, change{valid: setMTime | setMTimeOwn, mtime: unix.Timespec{Sec: 1}}); err != nil {
			t.Error(err)
		}
		c.must(tclunk, link)
		at := c.walk()
		c.refused(unix.EOPNOTSUPP, tlcreate, at, "link", uint32(unix.O_CREAT|unix.O_RDWR|unix.O_TRUNC), uint32(0o600), gid)
		c.must(tclunk, at)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(outside, "secret"), &st); err != nil || st.Size != 6 || st.Mtim.Sec == 1 || st.Mode&0o777 != 0o644 {
		t.Errorf("what a link leads to was changed: %+v, %v", st, err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "/etc", "../x", "a\x00b", strings.Repeat("x", 300)} {
		if _, err := c.try(name); err == nil {
			t.Errorf("a walk to %q", name)
		}
		for _, body := range [][]any{
			{tmkdir, root, name, uint32(0o755), gid},
			{tsymlink, root, name, "x", gid},
			{tmknod, root, name, uint32(unix.S_IFIFO | 0o600), uint32(0), uint32(0), gid},
			{tlink, root, root, name},
			{tunlinkat, root, name, uint32(0)},
			{tunlinkat, root, name, uint32(unix.AT_REMOVEDIR)},
			{trenameat, root, name, root, "x"},
			{trenameat, root, "link", root, name},
			{tlcreate, root, name, uint32(unix.O_CREAT), uint32(0o600), gid},
		} {
			if _, err := c.call(body[0].(kind), body[1:]...); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENAMETOOLONG) {
				t.Errorf("request %d with %q: %v", body[0], name, err)
			}
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, name := range []string{"fifo", "socket"} {
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR} {
			c.refused(unix.EOPNOTSUPP, tlopen, c.walk(name), uint32(flags))
		}
	}
	for _, kind := range []uint32{unix.S_IFBLK, unix.S_IFCHR, unix.S_IFDIR, unix.S_IFLNK, 0} {
		c.refused(unix.EPERM, tmknod, root, "node", kind|0o666, uint32(1), uint32(3), gid)
	}
	for _, kind := range []uint32{unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK} {
		c.must(tmknod, root, "node", kind|0o666, uint32(1), uint32(3), gid)
		if a := c.attrs(c.walk("node")); a.mode != kind|0o666 || a.rdev != 0 {
			t.Errorf("%+v", a)
		}
		c.must(tunlinkat, root, "node", uint32(0))
	}
}

// TestReadOnly: nothing changes what is shared to be read, or leaves one share for
// another.
func TestReadOnly(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "file"), "text")
	c := serve(t, 100, shareOf(t, dir, true), shareOf(t, other, false))()
	for _, body := range [][]any{
		{tmkdir, root, "x", uint32(0o755), uint32(0)},
		{tsymlink, root, "x", "y", uint32(0)},
		{tmknod, root, "x", uint32(unix.S_IFREG | 0o600), uint32(0), uint32(0), uint32(0)},
		{tlink, root, c.walk("file"), "x"},
		{tunlinkat, root, "file", uint32(0)},
		{trenameat, root, "file", root, "x"},
		{tlcreate, root, "file", uint32(unix.O_CREAT), uint32(0o600), uint32(0)},
		{tlopen, c.walk("file"), uint32(unix.O_WRONLY)},
		{tlopen, c.walk("file"), uint32(unix.O_RDWR)},
		{tlopen, c.walk("file"), uint32(unix.O_RDONLY | unix.O_TRUNC)},
		{txattrcreate, c.walk("file"), "user.a", uint64(0), uint32(0)},
		{tsetattr, c.walk("file"), uint32(0x1ff), uint32(0), uint32(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0)},
	} {
		c.refused(unix.EROFS, body[0].(kind), body[1:]...)
	}
	f := c.open(unix.O_RDONLY, "file")
	if got := c.read(f, 0, 9); got != "text" {
		t.Errorf("%q", got)
	}
	c.refused(unix.EBADF, twrite, f, uint64(0), uint32(1), []byte("x"))

	c.must(tattach, uint32(5000), uint32(noFID), "", "1", uint32(os.Geteuid()))
	c.must(tmkdir, uint32(5000), "d", uint32(0o755), uint32(os.Getegid()))
	c.refused(unix.EXDEV, tlink, uint32(5000), f, "x")
	c.refused(unix.EROFS, trenameat, uint32(5000), "d", root, "d")
	c.refused(unix.ENOENT, tattach, uint32(5001), uint32(noFID), "", "2", uint32(0))
	c.refused(unix.ENOENT, tattach, uint32(5001), uint32(noFID), "", "", uint32(0))
}

// TestRaces: whatever is renamed on the host, a walk that has a folder stays in it, and
// one that meets a link stops there.
func TestRaces(t *testing.T) {
	dir, c := alone(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "file"), "secret")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o755), os.Symlink(outside, filepath.Join(dir, "b"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a", "file"), "mine")
	var stop atomic.Bool
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		for !stop.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a"), unix.AT_FDCWD, filepath.Join(dir, "b"), unix.RENAME_EXCHANGE)
		}
	}()
	found, missed := 0, 0
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		f, err := c.try("a", "file")
		if err != nil {
			missed++
			continue
		}
		found++
		if c.must(tlopen, f, uint32(unix.O_RDONLY)); c.read(f, 0, 10) != "mine" {
			t.Fatal("a walk led outside")
		}
		c.must(tclunk, f)
	}
	stop.Store(true)
	<-done
	if found == 0 || missed == 0 {
		t.Errorf("%d walks led somewhere, %d nowhere: this shows nothing", found, missed)
	}
}

// TestBounds: a client may have so many files, and attributes, and no more.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	c := serve(t, 2000, shareOf(t, dir, false))()
	n := 0
	for ; n < 3000; n++ {
		if _, err := c.try("file"); err != nil {
			if !errors.Is(err, unix.ENFILE) {
				t.Error(err)
			}
			break
		}
	}
	if n < 1990 || n > 2000 {
		t.Errorf("%d files", n)
	}
	for i := range n {
		c.must(tclunk, uint32(i+1))
	}
	f := c.walk("file")
	for n = 0; n < 1000; n++ {
		if _, err := c.call(txattrwalk, f, uint32(10000+n), ""); err != nil {
			break
		}
	}
	if n != maxXattrs {
		t.Errorf("%d attributes", n)
	}
	c.must(tclunk, uint32(10000))
	c.must(txattrwalk, f, uint32(10000), "")
}

// raw connects to a server of one folder, and says nothing.
func raw(t testing.TB, dir string) (conn net.Conn, ended <-chan error) {
	t.Helper()
	s, err := New([]Share{shareOf(t, dir, false)}, 100)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Serve(far) }() // ends with the connection
	t.Cleanup(func() { near.Close() })
	return near, done
}

// TestNonsense ends the connection of who talks it, and nothing else.
func TestNonsense(t *testing.T) {
	hello := frame(tversion, noTag, uint32(8192), "9P2000.L")
	join := func(frames ...[]byte) (all []byte) {
		for _, f := range frames {
			all = append(all, f...)
		}
		return all
	}
	for name, sent := range map[string][]byte{
		"no version":       frame(tclunk, 1, root),
		"a short size":     {3, 0, 0, 0, byte(tversion), 0, 0},
		"a long message":   {0xff, 0xff, 0xff, 0xff, byte(tversion), 0, 0},
		"a small message":  frame(tversion, noTag, uint32(100), "9P2000.L"),
		"another protocol": frame(tversion, noTag, uint32(8192), "9P2000"),
		"a cut body":       join(hello, frame(tclunk, 1)),
		"a long body":      join(hello, frame(tclunk, 1, uint64(0))),
		"a cut string":     join(hello, frame(tattach, 1, root, uint32(noFID), uint16(50), "x")),
		"beyond the size":  join(hello, frame(twrite, 1, root, uint64(0), uint32(9000), make([]byte, 9000))),
	} {
		t.Run(name, func(t *testing.T) {
			conn, ended := raw(t, t.TempDir())
			go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
			_, _ = conn.Write(sent)
			select {
			case err := <-ended:
				if err == nil {
					t.Error("it ended without an error")
				}
			case <-time.After(10 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

// TestFlush is answered after what it flushes; a flush of nothing, and of itself, at once.
func TestFlush(t *testing.T) {
	_, c := alone(t)
	c.must(tflush, uint16(99))
	c.must(tflush, uint16(1))
	sent := append(frame(tgetattr, 5, root, uint64(0)), frame(tflush, 6, uint16(5))...)
	go func() { _, _ = c.conn.Write(sent) }()
	for _, want := range []uint16{5, 6} {
		if _, tag, _, err := hear(c.conn); err != nil || tag != want {
			t.Errorf("tag %d, %v: want %d", tag, err, want)
		}
	}
}

// TestUnread: a client that reads no answers costs what is under way, and nothing once
// it is gone.
func TestUnread(t *testing.T) {
	conn, ended := raw(t, t.TempDir())
	if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write(frame(tversion, noTag, uint32(8192), "9P2000.L"))
	if _, _, _, err := hear(conn); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for tag := range uint16(1000) {
		if _, err := conn.Write(frame(tgetattr, tag, root, uint64(0))); err != nil {
			break
		}
		sent++
	}
	if sent > maxRequests+1 {
		t.Errorf("%d requests were taken", sent)
	}
	conn.Close()
	if err := <-ended; err == nil {
		t.Error("it ended without an error")
	}
}

// FuzzHandle: no request makes the server panic, or leave its folder.
func FuzzHandle(f *testing.F) {
	f.Add(frame(twalk, 1, root, uint32(1), uint16(1), "file"))
	f.Add(append(frame(twalk, 1, root, uint32(1), uint16(1), "file"), frame(tlopen, 1, uint32(1), uint32(2))...))
	f.Add(append(frame(twalk, 1, root, uint32(1), uint16(0)), frame(tlcreate, 1, uint32(1), "x", uint32(66), uint32(0o600), uint32(0))...))
	f.Add(append(frame(txattrwalk, 1, root, uint32(1), ""), frame(tread, 1, uint32(1), uint64(1<<63), uint32(1<<31))...))
	f.Add(append(frame(txattrcreate, 1, root, "user.a", uint64(5), uint32(0)), frame(twrite, 1, root, uint64(3), uint32(2), []byte("ab"))...))
	f.Add(append(frame(tlopen, 1, root, uint32(0)), frame(treaddir, 1, root, uint64(0), uint32(1<<31))...))
	f.Add(frame(tgetlock, 1, root, uint8(1), uint64(0), uint64(1), uint32(1), "x"))
	f.Add(frame(tsetattr, 1, root, uint32(0x1ff), uint32(0), uint32(0), uint32(0), uint64(0), uint64(1<<63), uint64(1<<63), uint64(0), uint64(0)))
	parent := f.TempDir()
	outside := filepath.Join(parent, "outside")
	write(f, outside, "text")
	dir := filepath.Join(parent, "shared")
	if err := os.Mkdir(dir, 0o700); err != nil {
		f.Fatal(err)
	}
	s, err := New([]Share{shareOf(f, dir, false)}, 100)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := &conn{server: s, size: 8192, fids: map[uint32]*fid{}, tags: map[uint16]chan struct{}{}}
		defer c.close()
		sent = append(frame(tattach, 1, root, uint32(noFID), "", "0", uint32(os.Geteuid())), sent...)
		for len(sent) >= headerSize {
			header := fields{p: sent[:headerSize]}
			n := int(header.u32())
			if n < headerSize || n > len(sent) || n > c.size {
				break
			}
			q := &request{kind: kind(header.u8()), fields: fields{p: sent[headerSize:n]}, out: &reply{p: make([]byte, headerSize)}}
			if err := c.handle(q); err == nil && len(q.out.p) > c.size {
				t.Errorf("an answer of %d bytes", len(q.out.p))
			}
			for _, f := range q.held {
				c.discard(f)
			}
			sent = sent[n:]
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 2 || text(t, outside) != "text" {
			t.Errorf("outside are %v, %v", entries, err)
		}
		if _, err := os.Stat(dir); err != nil {
			t.Fatal(err)
		}
	})
}
