package ninep

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	unix.Umask(0) // as mvm-fsd has it
	goleak.VerifyTestMain(m)
}

// alone serves one folder to one client.
func alone(t testing.TB) (dir string, c *client) {
	t.Helper()
	dir = t.TempDir()
	return dir, serve(t, 100, shareOf(t, dir, false))()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func text(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFile: what is written is there on the host, and the other way round.
func TestFile(t *testing.T) {
	dir, c := alone(t)
	f := c.create("file", 0o4751)
	c.write(f, 0, "hello")
	c.write(f, 5, ", host")
	c.must(tfsync, f, uint32(1))
	c.must(tfsync, f)
	path := filepath.Join(dir, "file")
	if got := text(t, path); got != "hello, host" {
		t.Errorf("the host reads %q", got)
	}
	write(t, path, "hello, guest")
	if got := c.read(f, 7, 100); got != "guest" {
		t.Errorf("the guest reads %q", got)
	}
	a := c.attrs(f)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if a.mode != unix.S_IFREG|0o4751 || a.size != 12 || a.links != 1 || a.id.path != st.Ino {
		t.Errorf("%+v: mode %o", a, a.mode)
	}
	for _, ch := range []change{
		{valid: setMode, mode: 0o600},
		{valid: setSize, size: 4},
		{valid: setATime | setMTime | setATimeOwn | setMTimeOwn, atime: unix.Timespec{Sec: 7, Nsec: 8}, mtime: unix.Timespec{Sec: -5, Nsec: 6}},
		{valid: setUID | setGID, uid: uint32(os.Geteuid()), gid: 0},
	} {
		if err := c.set(f, ch); err != nil {
			t.Errorf("%+v: %v", ch, err)
		}
	}
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o600 || st.Size != 4 || st.Atim.Sec != 7 || st.Mtim.Sec != -5 || st.Mtim.Nsec != 6 {
		t.Errorf("%+v", st)
	}
	c.must(tclunk, f)
	c.refused(unix.EBADF, tread, f, uint64(0), uint32(1))
	c.must(tstatfs, root)

	append1 := c.open(unix.O_WRONLY|unix.O_APPEND, "file")
	c.write(append1, 0, "+")
	if got := text(t, path); got != "hell+" {
		t.Errorf("%q", got)
	}
	c.refused(unix.EBADF, tread, append1, uint64(0), uint32(1))
	c.open(unix.O_WRONLY|unix.O_TRUNC, "file")
	if got := text(t, path); got != "" {
		t.Errorf("%q", got)
	}
}

// TestNames: folders, links, renaming and removal; and what is open stays.
func TestNames(t *testing.T) {
	dir, c := alone(t)
	gid := uint32(os.Getegid())
	c.must(tmkdir, root, "a", uint32(0o2755), gid)
	c.must(tmkdir, root, "b", uint32(0o1777), gid)
	c.refused(unix.EEXIST, tmkdir, root, "b", uint32(0o755), gid)
	write(t, filepath.Join(dir, "a", "file"), "text")
	c.must(tsymlink, root, "link", "a/file", gid)
	link := c.walk("link")
	if a := c.attrs(link); a.mode&unix.S_IFMT != unix.S_IFLNK || a.id.kind != qidSymlink {
		t.Errorf("a link is %+v", a)
	}
	c.must(twalk, link, uint32(9999), uint16(0))
	if f := c.must(treadlink, uint32(9999)); f.text() != "a/file" {
		t.Error("a link leads elsewhere")
	}
	if a := c.attrs(c.walk("a")); a.mode != unix.S_IFDIR|0o2755 || a.id.kind != qidDir {
		t.Errorf("%o", a.mode)
	}
	if a := c.attrs(c.walk("b")); a.mode != unix.S_IFDIR|0o1777 {
		t.Errorf("%o", a.mode)
	}
	f := c.open(unix.O_RDWR, "a", "file")
	c.must(tlink, c.walk("b"), f, "other")
	c.must(tlink, c.walk("b"), link, "link")
	if a := c.attrs(f); a.links != 2 {
		t.Errorf("%d links", a.links)
	}
	c.must(trenameat, c.walk("a"), "file", root, "moved")
	c.refused(unix.ENOTEMPTY, tunlinkat, root, "b", uint32(unix.AT_REMOVEDIR))
	c.refused(unix.EISDIR, tunlinkat, root, "b", uint32(0))
	c.must(tunlinkat, root, "moved", uint32(0))
	c.must(tunlinkat, c.walk("b"), "other", uint32(0))
	c.must(tunlinkat, c.walk("b"), "link", uint32(0))
	if a := c.attrs(f); a.links != 0 {
		t.Errorf("%d links", a.links)
	}
	c.write(f, 4, "!")
	if err := c.set(f, change{valid: setMode | setSize, mode: 0o600, size: 3}); err != nil {
		t.Error(err)
	}
	if got := c.read(f, 0, 100); got != "tex" {
		t.Errorf("%q", got)
	}
	c.must(tunlinkat, root, "b", uint32(unix.AT_REMOVEDIR))
	if names := c.list(c.open(unix.O_RDONLY), 4096); len(names) != 4 {
		t.Errorf("left are %q", names)
	}
	c.refused(unix.EOPNOTSUPP, tremove, c.walk("a"))
	c.must(tclunk, uint32(9999))
	// As far as there is something.
	if f := c.must(twalk, root, uint32(9999), uint16(3), "a", "nosuch", "x"); f.u16() != 1 {
		t.Error("a walk that leads nowhere")
	}
	c.refused(unix.EBADF, tclunk, uint32(9999))
	c.refused(unix.ENOENT, twalk, root, uint32(9999), uint16(1), "nosuch")
	c.refused(unix.EBADF, twalk, root, c.walk("a"), uint16(0))
}

// TestList: a folder is listed to its end though entries go meanwhile.
func TestList(t *testing.T) {
	dir, c := alone(t)
	const entries = 500
	for i := range entries {
		write(t, filepath.Join(dir, fmt.Sprintf("%d%s", i, strings.Repeat("x", i%200))), "")
	}
	f := c.open(unix.O_RDONLY)
	names := c.list(f, 300)
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != entries+2 || len(names) != n {
		t.Errorf("%d names", n)
	}
	c.refused(unix.EINVAL, treaddir, f, uint64(0), uint32(20))
	seen := 0
	for offset := uint64(0); ; {
		l := c.must(treaddir, f, offset, uint32(2000))
		if l.u32() == 0 {
			break
		}
		for len(l.p) > 0 {
			l.take(13)
			offset = l.u64()
			_ = l.u8()
			if name := l.text(); name[0] != '.' {
				seen++
				c.must(tunlinkat, root, name, uint32(0))
			}
		}
	}
	if seen != entries {
		t.Errorf("%d were seen and removed", seen)
	}
}

func TestXattrs(t *testing.T) {
	dir, c := alone(t)
	write(t, filepath.Join(dir, "file"), "")
	set := func(name, value string, size, flags int) error {
		f := c.walk("file")
		if _, err := c.call(txattrcreate, f, name, uint64(size), uint32(flags)); err != nil {
			return err
		}
		for i, part := range []string{value[:len(value)/2], value[len(value)/2:]} {
			if len(part) > 0 {
				c.write(f, i*(len(value)/2), part)
			}
		}
		_, err := c.call(tclunk, f)
		return err
	}
	get := func(name string) (string, error) {
		file := c.walk("file")
		c.fids++
		f, err := c.call(txattrwalk, file, c.fids, name)
		if err != nil {
			return "", err
		}
		return c.read(c.fids, 0, int(f.u64())), nil
	}
	value := strings.Repeat("value", 100)
	if err := set("user.a", value, len(value), 0); err != nil {
		t.Fatal(err)
	}
	got, err := get("user.a")
	if err != nil || got != value {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := get(""); err != nil || got != "user.a\x00" {
		t.Errorf("listed are %q, %v", got, err)
	}
	for name, want := range map[string]error{
		"user.b": unix.ENODATA, "security.capability": unix.EOPNOTSUPP, "trusted.overlay.opaque": unix.EOPNOTSUPP, "system.posix_acl_access": unix.EOPNOTSUPP,
	} {
		if _, err := get(name); !errors.Is(err, want) {
			t.Errorf("get %s: %v", name, err)
		}
		if strings.HasPrefix(name, "user") {
			continue
		}
		if err := set(name, "x", 1, 0); !errors.Is(err, want) {
			t.Errorf("set %s: %v", name, err)
		}
	}
	if err := set("user.a", "x", 1, unix.XATTR_CREATE); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
	if err := set("user.a", "x", 2, 0); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
	if err := set("user.a", "", maxXattr+1, 0); !errors.Is(err, unix.E2BIG) {
		t.Error(err)
	}
	if err := set("user.a", "", 0, unix.XATTR_REPLACE); err != nil {
		t.Error(err)
	}
	if _, err := get("user.a"); !errors.Is(err, unix.ENODATA) {
		t.Errorf("removed, it is there: %v", err)
	}
}

// TestLocks: two clients' locks are in each other's way, and go with the files.
func TestLocks(t *testing.T) {
	dir := t.TempDir()
	another := serve(t, 100, shareOf(t, dir, false))
	a, b := another(), another()
	fa := a.create("file", 0o600)
	fb := b.open(unix.O_RDWR, "file")
	lock := func(c *client, fid uint32, kind, start, length int) uint8 {
		return c.must(tlock, fid, uint8(kind), uint32(1), uint64(start), uint64(length), uint32(77), "guest").u8()
	}
	if s := lock(a, fa, unix.F_WRLCK, 10, 10); s != lockDone {
		t.Errorf("status %d", s)
	}
	if s := lock(b, fb, unix.F_RDLCK, 15, 1); s != lockBlocked {
		t.Errorf("status %d", s)
	}
	if s := lock(b, fb, unix.F_RDLCK, 20, 0); s != lockDone {
		t.Errorf("status %d", s)
	}
	f := b.must(tgetlock, fb, uint8(unix.F_UNLCK), uint64(0), uint64(0), uint32(77), "guest")
	if kind, start, length, pid, id := f.u8(), f.u64(), f.u64(), f.u32(), f.text(); kind != unix.F_WRLCK || start != 10 || length != 10 || pid != 0 || id != "guest" {
		t.Errorf("a lock of kind %d at %d, %d long, of %d, %q", kind, start, length, pid, id)
	}
	if f := b.must(tgetlock, fb, uint8(unix.F_RDLCK), uint64(0), uint64(5), uint32(77), "guest"); f.u8() != unix.F_UNLCK {
		t.Error("there is no lock")
	}
	a.must(tclunk, fa)
	if s := lock(b, fb, unix.F_WRLCK, 0, 0); s != lockDone {
		t.Errorf("status %d", s)
	}
	b.refused(unix.EINVAL, tlock, fb, uint8(9), uint32(0), uint64(0), uint64(0), uint32(1), "")
	b.refused(unix.EBADF, tlock, b.walk("file"), uint8(0), uint32(0), uint64(0), uint64(0), uint32(1), "")
}

// TestSingle: a file is shared by itself.
func TestSingle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "text")
	c := serve(t, 100, shareOf(t, path, false))()
	if got := c.read(c.open(unix.O_RDONLY), 0, 100); got != "text" {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"file", "x", ".", ".."} {
		if _, err := c.try(name); err == nil {
			t.Errorf("there is something at %s", name)
		}
	}
	c.refused(unix.ENOTDIR, tunlinkat, root, "x", uint32(0))
}

// TestOwners: root gives files away; another user has files of its own only.
func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test is for root")
	}
	dir := t.TempDir()
	s, err := New([]Share{shareOf(t, dir, false)}, 100)
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	c.must(tattach, uint32(5000), uint32(noFID), "", "0", uint32(1000))
	c.must(tmkdir, uint32(5000), "theirs", uint32(0o755), uint32(50))
	if a := c.attrs(c.walk("theirs")); a.uid != 1000 || a.gid != 50 {
		t.Errorf("%+v", a)
	}
	if err := c.set(c.walk("theirs"), change{valid: setGID, gid: 7}); err != nil {
		t.Error(err)
	}
	if a := c.attrs(c.walk("theirs")); a.uid != 1000 || a.gid != 7 {
		t.Errorf("%+v", a)
	}
	s.ids = ids{uid: 1000, gid: 1000} // as if it were not root
	if a := c.attrs(c.walk("theirs")); a.uid != 0 || a.gid != nobody {
		t.Errorf("%+v", a)
	}
	if err := c.set(c.walk("theirs"), change{valid: setUID | setGID}); err != nil {
		t.Error(err)
	}
	if err := c.set(c.walk("theirs"), change{valid: setUID, uid: 5}); !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}

// TestOtherFileSystem: files of another than the root's are told apart from it.
func TestOtherFileSystem(t *testing.T) {
	s := &share{dev: 1}
	a, b := s.qidOf(&unix.Stat_t{Dev: 1, Ino: 5}), s.qidOf(&unix.Stat_t{Dev: 2, Ino: 5})
	if a.path != 5 || b.path == 5 || b != s.qidOf(&unix.Stat_t{Dev: 2, Ino: 5}) {
		t.Errorf("%v, %v", a, b)
	}
}

// TestBig: as much at once as a message holds.
func TestBig(t *testing.T) {
	dir, c := alone(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	f := c.create("big", 0o600)
	for at := 0; at < len(data); {
		n := min(len(data)-at, maxMessage-headerSize-16)
		c.write(f, at, string(data[at:at+n]))
		at += n
	}
	var got []byte
	for {
		p := c.read(f, len(got), 1<<30)
		if p == "" {
			break
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, data) || text(t, filepath.Join(dir, "big")) != string(data) {
		t.Errorf("%d bytes", len(got))
	}
}
