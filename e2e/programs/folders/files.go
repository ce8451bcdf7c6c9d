package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const permBits = 0o7777

func modes(c *check) {
	for _, mode := range []uint32{0o644, 0o400, 0o4755, 0o2755, 0o666} {
		name := fmt.Sprintf("%o", mode)
		fd, err := syscall.Open(c.at(name), syscall.O_CREAT|syscall.O_EXCL|syscall.O_RDWR, mode)
		c.ok(err, "create")
		c.ok(syscall.Close(fd), "close")
		c.that(c.stat(name).Mode&permBits == mode, "created with %o: %o", mode, c.stat(name).Mode)
	}
	c.ok(syscall.Mkdir(c.at("dir"), 0o1777), "mkdir")
	c.that(c.stat("dir").Mode == syscall.S_IFDIR|0o1777, "%o", c.stat("dir").Mode)
	c.ok(syscall.Chmod(c.at("dir"), 0o2770), "chmod")
	c.that(c.stat("dir").Mode == syscall.S_IFDIR|0o2770, "%o", c.stat("dir").Mode)
	c.file("file", "").Close()
	c.ok(syscall.Chmod(c.at("file"), 0o4711), "chmod")
	c.that(c.stat("file").Mode&permBits == 0o4711, "%o", c.stat("file").Mode)
	syscall.Umask(0o027)
	c.file("masked", "").Close()
	syscall.Umask(0)
	c.that(c.stat("masked").Mode&permBits == 0o640, "with a mask: %o", c.stat("masked").Mode)
}

func owners(c *check) {
	c.file("file", "").Close()
	c.ok(os.Chown(c.at("file"), 1000, 1001), "chown")
	st := c.stat("file")
	c.that(st.Uid == 1000 && st.Gid == 1001, "%d:%d", st.Uid, st.Gid)
	c.ok(os.Chown(c.at("file"), -1, 7), "chgrp")
	st = c.stat("file")
	c.that(st.Uid == 1000 && st.Gid == 7, "%d:%d", st.Uid, st.Gid)
	c.ok(os.Symlink("file", c.at("link")), "symlink")
	c.ok(os.Lchown(c.at("link"), 5, 6), "lchown")
	st = c.stat("link")
	c.that(st.Uid == 5 && st.Gid == 6, "the link is %d:%d", st.Uid, st.Gid)
	c.that(c.stat("file").Uid == 1000, "what the link leads to changed")
	c.ok(syscall.Chmod(c.at("file"), 0o4755), "chmod")
	c.ok(os.Chown(c.at("file"), 0, 0), "chown")
	c.that(c.stat("file").Mode&0o6000 == 0, "set-user-ID stays with another owner: %o", c.stat("file").Mode)
	c.ok(os.Chmod(c.dir, 0o777), "chmod")
	c.ok(as(1000, "make", c.at("theirs")), "another user makes a file")
	st = c.stat("theirs")
	c.that(st.Uid == 1000 && st.Gid == 1000, "%d:%d", st.Uid, st.Gid)
	c.that(c.stat("theirs.d").Uid == 1000, "their folder is %d's", c.stat("theirs.d").Uid)
	c.ok(os.Mkdir(c.at("group"), 0o777), "mkdir")
	c.ok(os.Chown(c.at("group"), 0, 50), "chown")
	c.ok(os.Chmod(c.at("group"), 0o777|os.ModeSetgid), "chmod")
	c.ok(as(1000, "make", c.at("group/file")), "make in a set-group-ID folder")
	c.that(c.stat("group/file").Gid == 50, "its group is %d", c.stat("group/file").Gid)
	c.that(c.stat("group/file.d").Mode&syscall.S_ISGID != 0, "a folder in it has mode %o", c.stat("group/file.d").Mode)
}

// as runs this program as another user.
func as(uid uint32, args ...string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// child does one thing, as the user it is; its exit status is the error's number.
func child(args []string) {
	var err error
	switch args[0] {
	case "make":
		var f *os.File
		if f, err = os.OpenFile(args[1], os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644); err == nil {
			f.Close()
			err = os.Mkdir(args[1]+".d", 0o755)
		}
	case "read":
		_, err = os.ReadFile(args[1])
	case "remove":
		err = os.Remove(args[1])
	case "chmod":
		err = os.Chmod(args[1], 0o777)
	case "lock":
		err = lockIn(args[1], syscall.F_SETLK)
	case "wait":
		err = lockIn(args[1], syscall.F_SETLKW)
	case "flock":
		err = flockIn(args[1])
	}
	if errno := syscall.Errno(0); err != nil {
		fmt.Println(err)
		if e := err; errors.As(e, &errno) {
			os.Exit(int(errno))
		}
		os.Exit(200)
	}
}

// exits says so if another user's attempt does not end with that error.
func (c *check) exits(want syscall.Errno, uid uint32, args ...string) {
	err := as(uid, args...)
	exit, is := err.(interface{ ExitCode() int })
	var e *exec.ExitError
	if errors.As(err, &e) {
		exit, is = e, true
	}
	c.that(is && exit.ExitCode() == int(want), "%v as %d: %v, want %v", args, uid, err, want)
}

func permissions(c *check) {
	c.ok(os.Chmod(c.dir, 0o755), "chmod")
	c.file("secret", "x").Close()
	c.ok(os.Chmod(c.at("secret"), 0o600), "chmod")
	c.exits(syscall.EACCES, 1000, "read", c.at("secret"))
	c.exits(syscall.EACCES, 1000, "make", c.at("new"))
	c.exits(syscall.EACCES, 1000, "remove", c.at("secret"))
	c.exits(syscall.EPERM, 1000, "chmod", c.at("secret"))
	c.ok(os.Chmod(c.at("secret"), 0o604), "chmod")
	c.ok(as(1000, "read", c.at("secret")), "read what others may")
	c.ok(os.Chmod(c.dir, 0o777|os.ModeSticky), "chmod")
	c.exits(syscall.EPERM, 1000, "remove", c.at("secret"))
	c.ok(as(1000, "make", c.at("theirs")), "make in a sticky folder")
	c.ok(as(1000, "remove", c.at("theirs")), "remove one's own there")
}

func times(c *check) {
	c.file("file", "").Close()
	at, mt := time.Unix(1e9, 0), time.Unix(5, 0) // Linux's v9fs sets whole seconds
	c.ok(os.Chtimes(c.at("file"), at, mt), "utimes")
	st := c.stat("file")
	c.that(st.Atim.Nano() == at.UnixNano() && st.Mtim.Nano() == mt.UnixNano(), "%v %v", st.Atim, st.Mtim)
	f, err := os.OpenFile(c.at("file"), os.O_WRONLY, 0)
	c.ok(err, "open")
	_, err = f.WriteString("x")
	c.ok(err, "write")
	c.ok(f.Close(), "close")
	after := c.stat("file")
	c.that(after.Mtim.Nano() > mt.UnixNano() && after.Ctim.Nano() >= st.Ctim.Nano(), "a write leaves %v", after.Mtim)
	c.that(after.Mtim.Nsec != 0, "the time of a write is in whole seconds")
	c.ok(os.Symlink("nowhere", c.at("link")), "symlink")
	ts := []unix.Timespec{{Sec: 1}, {Sec: 2}}
	c.ok(unix.UtimesNanoAt(unix.AT_FDCWD, c.at("link"), ts, unix.AT_SYMLINK_NOFOLLOW), "utimes of a link")
	c.that(c.stat("link").Mtim.Sec == 2, "%v", c.stat("link").Mtim)
}

func contents(c *check) {
	f := c.file("file", "0123456789")
	defer f.Close()
	_, err := f.WriteAt([]byte("end"), 5<<30)
	c.ok(err, "write at 5 GiB")
	st := c.stat("file")
	c.that(st.Size == 5<<30+3 && st.Blocks < 1<<16, "%d bytes in %d blocks", st.Size, st.Blocks)
	hole := make([]byte, 4)
	_, err = f.ReadAt(hole, 1<<30)
	c.ok(err, "read a hole")
	c.that(bytes.Equal(hole, make([]byte, 4)), "a hole is %v", hole)
	c.ok(f.Truncate(4), "truncate")
	c.ok(f.Truncate(8), "truncate")
	c.that(c.text("file") == "0123\x00\x00\x00\x00", "%q", c.text("file"))
	a, err := os.OpenFile(c.at("file"), os.O_WRONLY|os.O_APPEND, 0)
	c.ok(err, "open")
	for i := range 3 {
		_, err = fmt.Fprint(a, i)
		c.ok(err, "append")
	}
	c.ok(a.Close(), "close")
	c.that(c.text("file") == "0123\x00\x00\x00\x00012", "%q", c.text("file"))
	t, err := os.OpenFile(c.at("file"), os.O_WRONLY|os.O_TRUNC, 0)
	c.ok(err, "open")
	c.ok(t.Close(), "close")
	c.that(c.stat("file").Size == 0, "truncated, it has %d bytes", c.stat("file").Size)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	c.ok(os.WriteFile(c.at("big"), big, 0o600), "write")
	got, err := os.ReadFile(c.at("big"))
	c.ok(err, "read")
	c.that(bytes.Equal(got, big), "4 MiB came back as %d bytes", len(got))
	b, err := os.Open(c.at("big"))
	c.ok(err, "open")
	p := make([]byte, 7)
	_, err = b.Seek(-3, io.SeekEnd)
	c.ok(err, "seek")
	n, err := b.Read(p)
	c.that(n == 3 && err == nil, "%d bytes before the end, %v", n, err)
	_, err = b.Read(p)
	c.that(errors.Is(err, io.EOF), "behind the end: %v", err)
	c.ok(b.Close(), "close")
	c.ok(f.Sync(), "fsync")
	c.ok(syscall.Fdatasync(int(f.Fd())), "fdatasync")
	var fs syscall.Statfs_t
	c.ok(syscall.Statfs(c.dir, &fs), "statfs")
	c.that(fs.Blocks > 0 && fs.Bavail > 0, "statfs: %s", strconv.FormatUint(fs.Blocks, 10))
}
