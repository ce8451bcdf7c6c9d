package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func links(c *check) {
	f := c.file("a", "text")
	c.ok(os.Link(c.at("a"), c.at("b")), "link")
	a, b := c.stat("a"), c.stat("b")
	c.that(a.Ino == b.Ino && a.Nlink == 2 && b.Nlink == 2, "%d and %d, %d links", a.Ino, b.Ino, b.Nlink)
	_, err := f.WriteString(", more")
	c.ok(err, "write")
	c.ok(f.Close(), "close")
	c.that(c.text("b") == "text, more", "%q", c.text("b"))
	c.fails(os.Link(c.at("a"), c.at("b")), syscall.EEXIST, "link to what is there")
	c.fails(os.Link(c.dir, c.at("d")), syscall.EPERM, "link of a folder")
	c.ok(os.Remove(c.at("a")), "remove")
	c.that(c.stat("b").Nlink == 1 && c.text("b") == "text, more", "%d links", c.stat("b").Nlink)
	c.ok(os.Symlink("b", c.at("s")), "symlink")
	to, err := os.Readlink(c.at("s"))
	c.that(err == nil && to == "b" && c.text("s") == "text, more", "it leads to %q, %v", to, err)
	c.ok(os.Symlink("loop", c.at("loop")), "symlink")
	_, err = os.ReadFile(c.at("loop"))
	c.fails(err, syscall.ELOOP, "a loop")
	_, err = os.OpenFile(c.at("s"), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	c.fails(err, syscall.ELOOP, "O_NOFOLLOW")
	c.ok(os.Symlink("nowhere", c.at("dangling")), "symlink")
	_, err = os.Open(c.at("dangling"))
	c.fails(err, syscall.ENOENT, "a link that leads nowhere")
	_, err = os.OpenFile(c.at("dangling"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	c.fails(err, syscall.EEXIST, "O_EXCL at a link")
	c.ok(os.WriteFile(c.at("dangling"), nil, 0o600), "create through a link")
	c.that(c.stat("nowhere").Size == 0, "it is elsewhere")
}

func names(c *check) {
	for _, dir := range []string{"d", "e", "e/sub"} {
		c.ok(os.Mkdir(c.at(dir), 0o755), "mkdir")
	}
	c.file("f", "f").Close()
	c.file("g", "g").Close()
	f := c.stat("f")
	c.ok(os.Rename(c.at("f"), c.at("d/f")), "rename to another folder")
	c.that(c.stat("d/f").Ino == f.Ino, "it is another file")
	_, err := os.Stat(c.at("f"))
	c.fails(err, syscall.ENOENT, "the old name")
	c.ok(os.Rename(c.at("d/f"), c.at("g")), "rename over another")
	c.that(c.text("g") == "f" && c.stat("g").Ino == f.Ino, "%q", c.text("g"))
	c.ok(os.Rename(c.at("e"), c.at("d/e")), "rename a folder")
	c.that(c.stat("d/e/sub").Mode&syscall.S_IFMT == syscall.S_IFDIR, "its folder is gone")
	c.fails(os.Rename(c.at("d"), c.at("d/e/x")), syscall.EINVAL, "rename into itself")
	c.ok(os.Mkdir(c.at("empty"), 0o755), "mkdir")
	c.fails(syscall.Rename(c.at("empty"), c.at("d/e")), syscall.ENOTEMPTY, "rename over a folder that is not empty")
	c.fails(syscall.Rename(c.at("g"), c.at("empty")), syscall.EISDIR, "rename over a folder")
	c.fails(syscall.Rename(c.at("empty"), c.at("g")), syscall.ENOTDIR, "rename over a file")
	c.fails(syscall.Rmdir(c.at("d")), syscall.ENOTEMPTY, "rmdir")
	c.fails(syscall.Rmdir(c.at("g")), syscall.ENOTDIR, "rmdir of a file")
	c.fails(syscall.Unlink(c.at("d")), syscall.EISDIR, "unlink of a folder")
	c.fails(syscall.Mkdir(c.at("d"), 0o755), syscall.EEXIST, "mkdir")
	_, err = os.OpenFile(c.at("g"), os.O_CREATE|os.O_EXCL, 0o600)
	c.fails(err, syscall.EEXIST, "O_EXCL")
	_, err = os.OpenFile(c.at("g"), syscall.O_DIRECTORY, 0)
	c.fails(err, syscall.ENOTDIR, "O_DIRECTORY")
	_, err = os.OpenFile(c.at("d"), os.O_WRONLY, 0)
	c.fails(err, syscall.EISDIR, "write a folder")
	_, err = os.Stat(c.at("g/x"))
	c.fails(err, syscall.ENOTDIR, "below a file")
	c.fails(os.WriteFile(c.at(long(256)), nil, 0o600), syscall.ENAMETOOLONG, "a long name")
	for _, name := range []string{long(255), "a b\nc\td", "ü✓", "\xff\xfe", "-", "..."} {
		c.file(name, name).Close()
		c.that(c.text(name) == name, "%q", name)
		c.ok(os.Remove(c.at(name)), "remove "+name)
	}
	_, err = os.Stat(c.at("../../../../etc/passwd-of-nobody"))
	c.fails(err, syscall.ENOENT, "above all")
}

func unlinked(c *check) {
	f := c.file("file", "0123456789")
	c.ok(os.Remove(c.at("file")), "remove")
	_, err := os.Stat(c.at("file"))
	c.fails(err, syscall.ENOENT, "its name")
	p := make([]byte, 10)
	_, err = f.ReadAt(p, 0)
	c.that(err == nil && string(p) == "0123456789", "%q, %v", p, err)
	_, err = f.WriteAt([]byte("more"), 10)
	c.ok(err, "write")
	c.ok(f.Truncate(12), "truncate")
	c.ok(f.Chmod(0o600), "chmod")
	var st syscall.Stat_t
	c.ok(syscall.Fstat(int(f.Fd()), &st), "stat")
	c.that(st.Size == 12 && st.Nlink == 0 && st.Mode&permBits == 0o600, "%d bytes, %d links, mode %o", st.Size, st.Nlink, st.Mode)
	c.file("file", "another").Close()
	_, err = f.ReadAt(p, 2)
	c.that(err == nil && string(p) == "23456789mo", "%q, %v", p, err)
	c.ok(f.Close(), "close")
	c.that(c.text("file") == "another", "%q", c.text("file"))
	g := c.file("g", "old")
	c.ok(os.Rename(c.at("file"), c.at("g")), "rename over what is open")
	_, err = g.ReadAt(p[:3], 0)
	c.that(err == nil && string(p[:3]) == "old", "%q, %v", p[:3], err)
	c.ok(g.Close(), "close")
	c.ok(os.Mkdir(c.at("d"), 0o755), "mkdir")
	d, err := os.Open(c.at("d"))
	c.ok(err, "open")
	c.ok(os.Remove(c.at("d")), "rmdir of what is open")
	c.fails(unix.Mkdirat(int(d.Fd()), "x", 0o755), syscall.ENOENT, "mkdir in it")
	c.ok(d.Close(), "close")
}

func mappings(c *check) {
	f := c.file("file", strings.Repeat("a", 10000))
	m, err := syscall.Mmap(int(f.Fd()), 0, 10000, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	c.ok(err, "map")
	if err != nil {
		return
	}
	copy(m[5000:], "written by memory")
	c.ok(unix.Msync(m, unix.MS_SYNC), "msync")
	c.that(c.text("file")[5000:5017] == "written by memory", "%q", c.text("file")[5000:5017])
	_, err = f.WriteAt([]byte("written by call"), 100)
	c.ok(err, "write")
	c.that(string(m[100:115]) == "written by call", "the mapping has %q", m[100:115])
	copy(m[9000:], "at the end")
	c.ok(syscall.Munmap(m), "unmap")
	c.ok(f.Close(), "close")
	c.that(c.text("file")[9000:9010] == "at the end", "%q", c.text("file")[9000:9010])
	f, err = os.Open(c.at("file"))
	c.ok(err, "open")
	m, err = syscall.Mmap(int(f.Fd()), 0, 10000, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	c.ok(err, "map privately")
	if err == nil {
		copy(m, "mine")
		c.that(c.text("file")[:4] == "aaaa", "it is not private")
		c.ok(syscall.Munmap(m), "unmap")
	}
	c.ok(f.Close(), "close")
	self, err := os.ReadFile("/proc/self/exe")
	c.ok(err, "read")
	c.ok(os.WriteFile(c.at("program"), self, 0o755), "write")
	out, err := exec.Command(c.at("program")).CombinedOutput()
	c.that(err != nil && strings.Contains(string(out), "usage"), "a program there: %v: %s", err, out)
}

func lockIn(path string, how int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return syscall.FcntlFlock(f.Fd(), how, &syscall.Flock_t{Type: syscall.F_WRLCK, Start: 5, Len: 10})
}

func flockIn(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

func locks(c *check) {
	f := c.file("file", "0123456789")
	lock := func(kind int16) {
		c.ok(syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: kind, Start: 0, Len: 6}), "lock")
	}
	lk := syscall.Flock_t{Type: syscall.F_WRLCK}
	c.ok(syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lk), "ask for locks")
	c.that(lk.Type == syscall.F_UNLCK, "there is a lock of type %d", lk.Type)
	lock(syscall.F_WRLCK)
	c.exits(syscall.EAGAIN, 0, "lock", c.at("file"))
	c.that(lockIn(c.at("nosuch"), syscall.F_SETLK) != nil, "a lock of nothing")
	waits := exec.Command("/proc/self/exe", "wait", c.at("file"))
	c.ok(waits.Start(), "start")
	time.Sleep(time.Second)
	c.ok(waits.Process.Signal(syscall.Signal(0)), "F_SETLKW waits")
	lock(syscall.F_UNLCK)
	c.ok(waits.Wait(), "F_SETLKW")
	c.ok(as(0, "lock", c.at("file")), "lock what is free")
	c.ok(syscall.Flock(int(f.Fd()), syscall.LOCK_EX), "flock")
	c.exits(syscall.EAGAIN, 0, "flock", c.at("file"))
	c.ok(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), "flock")
	c.ok(as(0, "flock", c.at("file")), "flock what is free")
	c.ok(f.Close(), "close")
}

func attributes(c *check) {
	c.file("file", "").Close()
	p := make([]byte, 100)
	_, err := syscall.Getxattr(c.at("file"), "user.a", p)
	c.fails(err, syscall.ENODATA, "get what is not there")
	if err := syscall.Setxattr(c.at("file"), "user.a", []byte("value"), 0); errors.Is(err, syscall.EOPNOTSUPP) {
		return // as the host's file system has it
	}
	c.ok(syscall.Setxattr(c.at("file"), "user.a", []byte("value"), 0), "set")
	n, err := syscall.Getxattr(c.at("file"), "user.a", p)
	c.that(err == nil && string(p[:n]) == "value", "%q, %v", p[:max(n, 0)], err)
	n, err = syscall.Listxattr(c.at("file"), p)
	c.that(err == nil && string(p[:n]) == "user.a\x00", "%q, %v", p[:max(n, 0)], err)
	_, err = syscall.Getxattr(c.at("file"), "user.a", p[:2])
	c.fails(err, syscall.ERANGE, "get with little room")
	c.fails(syscall.Setxattr(c.at("file"), "user.a", []byte("x"), unix.XATTR_CREATE), syscall.EEXIST, "set anew")
	c.ok(syscall.Setxattr(c.at("file"), "user.empty", nil, 0), "set to nothing")
	n, err = syscall.Getxattr(c.at("file"), "user.empty", p)
	c.that(n == 0 && err == nil, "%d, %v", n, err)
	c.ok(syscall.Removexattr(c.at("file"), "user.a"), "remove")
	_, err = syscall.Getxattr(c.at("file"), "user.a", p)
	c.fails(err, syscall.ENODATA, "get what was removed")
	fmt.Println("attributes there")
}

func lists(c *check) {
	const files = 80
	for i := range files {
		c.ok(os.WriteFile(c.at(fmt.Sprint("file", i)), nil, 0o600), "write")
	}
	d, err := os.Open(c.dir)
	c.ok(err, "open")
	first, err := d.Readdirnames(10)
	c.ok(err, "list")
	for _, name := range first {
		c.ok(os.Remove(c.at(name)), "remove")
	}
	rest, err := d.Readdirnames(-1)
	c.ok(err, "list")
	all := slices.Concat(first, rest)
	slices.Sort(all)
	c.that(len(slices.Compact(slices.Clone(all))) == files && len(all) == files, "%d names", len(all))
	_, err = d.Seek(0, 0)
	c.ok(err, "rewind")
	again, err := d.Readdirnames(-1)
	c.that(err == nil && len(again) == files-10, "again %d names, %v", len(again), err)
	c.ok(d.Close(), "close")
}

func special(c *check) {
	c.ok(syscall.Mkfifo(c.at("fifo"), 0o600), "mkfifo")
	go func() { // ends with what it writes
		c.ok(os.WriteFile(c.at("fifo"), []byte("through"), 0), "write to a FIFO")
	}()
	c.that(c.text("fifo") == "through", "a FIFO")
	ln, err := net.Listen("unix", c.at("socket"))
	c.ok(err, "listen")
	if err == nil {
		go func() { // ends with the connection
			if conn, err := ln.Accept(); err == nil {
				conn.Close()
			}
		}()
		conn, err := net.Dial("unix", c.at("socket"))
		c.ok(err, "connect")
		if err == nil {
			conn.Close()
		}
		ln.Close()
	}
	c.fails(syscall.Mknod(c.at("null"), syscall.S_IFCHR|0o666, 0x103), syscall.EPERM, "make a device")
}
