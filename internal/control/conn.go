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

// maxFrame bounds a frame's JSON, in bytes: a Start carries what a request to the
// guest does, and a little more.
const maxFrame = proto.MaxRequest + 64<<10

// maxFiles is how many descriptors come with a frame: a process's streams.
const maxFiles = 3

// Conn is one end of a connection. Send may be called from many goroutines,
// Receive from one.
type Conn struct {
	mu sync.Mutex // held while a frame is written
	c  *net.UnixConn
}

// Inherited is mvm-vmm's end of the connection it is started with.
func Inherited() (*Conn, error) {
	unix.CloseOnExec(FD)
	return fromFile(os.NewFile(FD, "control"))
}

// Pair makes a connection and gives its far end to cmd as FD, which it must get
// before any other ExtraFiles. The far end is to be closed once cmd runs.
func Pair(cmd *exec.Cmd) (near *Conn, far io.Closer, err error) {
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
	uc, err := Socket(f)
	if err != nil {
		return nil, fmt.Errorf("control: file descriptor %d is not mvm's socket (mvm starts mvm-vmm): %w", f.Fd(), err)
	}
	return &Conn{c: uc}, nil
}

// Socket makes a connection of f, which it closes: a Unix socket.
func Socket(f *os.File) (*net.UnixConn, error) {
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a Unix socket"), c.Close())
	}
	return uc, nil
}

// Listener takes the connections of commands.
type Listener struct{ ln *net.UnixListener }

// Listen listens in the container's folder, which is the working directory. A
// socket that a killed mvm-vmm left is replaced.
func Listen() (*Listener, error) {
	_ = os.Remove(File) // most often there is none
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: File, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return &Listener{ln}, nil
}

// Accept waits for the next connection.
func (l *Listener) Accept() (*Conn, error) {
	c, err := l.ln.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &Conn{c: c}, nil
}

// Close ends Accept and removes the socket.
func (l *Listener) Close() error { return l.ln.Close() }

// Dial connects to the mvm-vmm of the container whose folder is dir.
func Dial(dir string) (*Conn, error) {
	// Through a descriptor: the path of a socket has at most 107 bytes.
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), File), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c := &Conn{c: uc}
	m, err := c.Receive()
	if err == nil && (m.Hello == nil || m.Hello.Version != Version) {
		err = fmt.Errorf("control: the container's mvm-vmm is of another version of mvm (this one speaks %d): use that one, or restart the container", Version)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Send writes one frame, with files beside it, of which it keeps none.
func (c *Conn) Send(m Message, files ...*os.File) error {
	frame, err := proto.AppendFrame(nil, m, maxFrame)
	if err != nil {
		return fmt.Errorf("control: send: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		n, _, err := c.c.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
		if err != nil {
			return fmt.Errorf("control: send: %w", err)
		}
		frame = frame[n:]
	}
	if _, err := c.c.Write(frame); err != nil {
		return fmt.Errorf("control: send: %w", err)
	}
	return nil
}

// Receive reads the next frame; io.EOF when the other end has closed.
func (c *Conn) Receive() (Message, error) { return c.receive(c.c) }

// ReceiveFiles reads the next frame and the files beside it.
func (c *Conn) ReceiveFiles() (Message, []*os.File, error) {
	r := &fileReader{c: c.c}
	m, err := c.receive(r)
	if err != nil {
		r.close()
	}
	return m, r.files, err
}

func (c *Conn) receive(r io.Reader) (Message, error) {
	var m Message
	err := proto.ReadFrame(r, &m, maxFrame)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("control: receive: %w", err)
	}
	return m, err
}

// Close ends the connection; a Receive under way returns.
func (c *Conn) Close() error { return c.c.Close() }

// fileReader reads bytes, and keeps the files that come beside them.
type fileReader struct {
	c     *net.UnixConn
	files []*os.File
}

func (r *fileReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := r.c.ReadMsgUnix(p, oob)
	if err != nil {
		return n, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // of another kind
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			r.files = append(r.files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	if len(r.files) > maxFiles {
		return n, fmt.Errorf("%d files beside a frame", len(r.files))
	}
	return n, nil
}

func (r *fileReader) close() {
	for _, f := range r.files {
		_ = f.Close()
	}
	r.files = nil
}
