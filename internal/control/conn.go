package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Conn is one end of the connection. Send may be called from many goroutines,
// Receive from one.
type Conn struct {
	mu sync.Mutex // held while a frame is written
	c  net.Conn
}

// Inherited is mvm-vmm's end: the descriptor FD.
func Inherited() (*Conn, error) {
	unix.CloseOnExec(FD)
	return fromFile(os.NewFile(FD, "control"))
}

// Attach makes the connection and gives its far end to cmd as FD, which it must
// get before any other ExtraFiles. The far end is to be closed once cmd runs.
func Attach(cmd *exec.Cmd) (near *Conn, far io.Closer, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control: socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[1]), "control")
	near, err = fromFile(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return near, f, nil
}

// fromFile takes f over.
func fromFile(f *os.File) (*Conn, error) {
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("control: file descriptor %d is not mvm's socket (mvm starts mvm-vmm): %w", f.Fd(), err)
	}
	return &Conn{c: c}, nil
}

// Send writes one frame.
func (c *Conn) Send(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := proto.WriteFrame(c.c, m); err != nil {
		return fmt.Errorf("control: send: %w", err)
	}
	return nil
}

// Receive reads the next frame; io.EOF when the other end has closed.
func (c *Conn) Receive() (Message, error) {
	var m Message
	err := proto.ReadFrame(c.c, &m)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("control: receive: %w", err)
	}
	return m, err
}

// Close ends the connection; a Receive under way returns.
func (c *Conn) Close() error { return c.c.Close() }
