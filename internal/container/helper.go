package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// NetProgram is the name of the program behind a network of kind user, and beside
// one of kind bridge.
const NetProgram = "mvm-netd"

// linkBuffer is how much a link holds in each direction, in bytes, as far as the
// host allows: a few of the longest frames.
const linkBuffer = 1 << 20

// startHelper starts the mvm-netd of a container that is plugged in. It runs until
// every copy of the plug's near end is closed; that and ready are mvm-vmm's, as
// control.LinkFD and control.HelperFD. It holds the container's lock too, so that the
// ports it publishes are free again when that is.
func startHelper(p *plug, lock *os.File, stdio IO) (helper *exec.Cmd, ready *os.File, err error) {
	program, err := findProgram(NetProgram)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; or run it with --network none", err)
	}
	order, err := orderFile(p.network)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = order.Close() }()
	ready, told, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = told.Close() }()
	helper = exec.Command(program)
	helper.Dir = "/"
	helper.Env = []string{}
	helper.Stdin = order
	if stdio.Stderr != nil { // not a nil *os.File in an interface
		helper.Stderr = stdio.Stderr
	}
	helper.ExtraFiles = []*os.File{p.far, told, lock} // hostnet.HelperLink, HelperReady
	helper.SysProcAttr = apart(stdio)
	if err := helper.Start(); err != nil {
		ready.Close()
		return nil, nil, fmt.Errorf("start %s: %w", program, err)
	}
	return helper, ready, nil
}

// orderFile holds what mvm-netd is to be, to be read from the beginning.
func orderFile(n hostnet.Network) (*os.File, error) {
	text, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("network", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "network")
	_, err = f.Write(text)
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// linkPair makes a link: a connection that keeps messages apart.
func linkPair() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, linkBuffer) // never fails: more than the host allows is cut
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}
