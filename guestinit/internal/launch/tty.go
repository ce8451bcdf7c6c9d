package launch

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// streams has the child take its standard streams: those it is given, or a
// terminal, which becomes its session's controlling one.
func (l *Launch) streams() error {
	size := l.order.Process.TTY
	if size == nil || l.order.Process.Archive != nil {
		l.takeStreams(l.order.Stdio)
		return nil
	}
	slave, err := l.openTerminal(*size)
	if err != nil {
		return err
	}
	l.files = append(l.files, slave)
	l.order.Stdio = []*os.File{slave, slave, slave}
	l.takeStreams(l.order.Stdio)
	l.plan.do(because("take the terminal"), unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	return nil
}

func (l *Launch) takeStreams(stdio []*os.File) {
	for fd, f := range stdio {
		l.plan.do(because("take a stream"), unix.SYS_DUP3, f.Fd(), uintptr(fd), 0)
	}
}

// openTerminal makes a terminal in the container's devpts. The container's first
// process has it as /dev/console too, as in docker.
func (l *Launch) openTerminal(size proto.Size) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NOFOLLOW
	master, err := unix.Open("/dev/pts/ptmx", flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	l.Terminal = os.NewFile(uintptr(master), "terminal")
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("the terminal's number: %w", err)
	}
	if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols}); err != nil {
		return nil, fmt.Errorf("the terminal's size: %w", err)
	}
	path := "/dev/pts/" + strconv.Itoa(int(number))
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("open the terminal: %w", err)
	}
	slave := os.NewFile(uintptr(fd), path)
	err = utf8Editing(fd)
	if err == nil && l.first() {
		err = console(path)
	}
	if err != nil {
		_ = slave.Close()
		return nil, err
	}
	return slave, nil
}

// utf8Editing makes erasing in a line go by characters.
func utf8Editing(slave int) error {
	t, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("the terminal's modes: %w", err)
	}
	t.Iflag |= unix.IUTF8
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, t); err != nil {
		return fmt.Errorf("the terminal's modes: %w", err)
	}
	return nil
}

// console puts the terminal at /dev/console.
func console(path string) error {
	f, err := os.OpenFile("/dev/console", os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return Mount{path, "/dev/console", "", unix.MS_BIND, ""}.Do()
}
