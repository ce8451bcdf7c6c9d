package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slow is a reader on the host that is behind: by the time it has taken what it
// was given first, the process is over.
type slow struct {
	bytes.Buffer
	over func()
}

func (s *slow) Write(p []byte) (int, error) {
	if s.over != nil {
		s.over()
		s.over = nil
	}
	return s.Buffer.Write(p)
}

// What a process wrote arrives whole, however late that is, though another still
// holds the stream. What that one writes after is nobody's.
func TestOutputOfEnded(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(r.Close(), w.Close()) }()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20); err != nil {
		t.Fatal(err)
	}
	written := bytes.Repeat([]byte("0123456789abcdef"), 50000)
	if _, err := w.Write(written); err != nil {
		t.Fatal(err)
	}
	to := &slow{over: func() {
		if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}}
	if err := moveOutput(to, r); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(to.Bytes(), written) {
		t.Errorf("%d bytes of %d", to.Len(), len(written))
	}
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := moveOutput(io.Discard, r); err != nil { // the pipe is empty, and open
		t.Error(err)
	}
}

// The same of a terminal.
func TestTerminalOfEnded(t *testing.T) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "terminal")
	defer func() { _ = master.Close() }()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slave.Close() }()
	if _, err := slave.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	if err := master.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var to bytes.Buffer
	if err := moveOutput(&to, master); err != nil || to.String() != "last words" {
		t.Errorf("%q, %v", to.String(), err)
	}
}
