package stage

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// openTerminal makes a terminal in the container's devpts, makes it this
// session's controlling one and the standard streams, and returns its master.
// The container's first process has it as /dev/console too, as in docker.
func openTerminal(size proto.Size, first bool) (master int, err error) {
	master, err = unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open a terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, fmt.Errorf("unlock the terminal: %w", err)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return -1, fmt.Errorf("the terminal's number: %w", err)
	}
	if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols}); err != nil {
		return -1, fmt.Errorf("the terminal's size: %w", err)
	}
	path := "/dev/pts/" + strconv.Itoa(int(number))
	slave, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open the terminal: %w", err)
	}
	if err := takeTerminal(slave); err != nil {
		return -1, err
	}
	if !first {
		return master, nil
	}
	return master, console(path)
}

// takeTerminal makes slave the session's controlling terminal and its streams.
func takeTerminal(slave int) error {
	if err := utf8Editing(slave); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return fmt.Errorf("take the terminal: %w", err)
		}
	}
	return unix.Close(slave)
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
