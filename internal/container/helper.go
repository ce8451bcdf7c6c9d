package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/hostfs"
)

// Programs beside mvm-vmm: behind a network of kind user and beside one of kind
// bridge, and behind the folders of the host.
const (
	NetProgram     = "mvm-netd"
	FoldersProgram = "mvm-fsd"
)

// foldersSocket is where the guest's connections to proto.SharesPort arrive.
func foldersSocket() string { return fmt.Sprintf("%s_%d", vsockFile, proto.SharesPort) }

// linkBuffer is how much a link holds in each direction, in bytes, as far as the
// host allows: a few of the longest frames.
const linkBuffer = 1 << 20

// startHelpers starts what the container needs beside its mvm-vmm. Each runs until
// every copy of its link's other end is closed. Those ends are mvm-vmm's, with what
// the helpers say, and that of the command which clears up: they are its file
// descriptors from control.LinkFD on, nil where there is none. A helper holds the
// container's lock too, so that what it has of the host's is free again when that is.
func startHelpers(p *plug, mounts []Mount, dir string, lock *os.File, stdio IO) (helpers []*exec.Cmd, ends []*os.File, err error) {
	ends = make([]*os.File, 5)
	folders, err := foldersHelper(mounts, dir)
	if err != nil { // the user's mistake: before anything runs
		return nil, ends, err
	}
	net, err := p.helper()
	for i, h := range []*helper{net, folders} {
		if h == nil {
			continue
		}
		ends[2*i] = h.link
		if err == nil {
			var cmd *exec.Cmd
			cmd, ends[2*i+1], err = h.start(lock, stdio)
			helpers = append(helpers, cmd)
		}
		closeFiles(h.own) // it has copies
	}
	if err == nil && p != nil && len(p.after) > 0 {
		var cmd *exec.Cmd
		cmd, ends[4], err = startLeaver(p.after, lock)
		helpers = append(helpers, cmd)
	}
	return helpers, ends, err
}

// startLeaver starts what takes a container off its network when mvm-vmm says so: a
// shell that waits, and becomes mvm only then, which is larger.
func startLeaver(args []string, lock *os.File) (cmd *exec.Cmd, near *os.File, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "after"), os.NewFile(uintptr(fds[1]), "after")
	defer func() { _ = far.Close() }()
	cmd = exec.Command("/bin/sh", slices.Concat([]string{"-c", `read -r now && exec "$@"`, "sh", self}, args)...)
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.Stdin = far
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = apart(IO{})
	if err := cmd.Start(); err != nil {
		return nil, near, fmt.Errorf("start a shell, to take the container off its network later: %w", err)
	}
	return cmd, near, nil
}

// helper is a program that is to work beside mvm-vmm.
type helper struct {
	program   string
	dir       string     // where it works
	order     any        // what it is to be, which it reads from stdin
	link, far *os.File   // mvm-vmm's end and its own
	more      []*os.File // what it has besides
	own       []*os.File // nobody else's: to be closed once it runs
}

// start starts it; what it says comes by ready.
func (h *helper) start(lock *os.File, stdio IO) (cmd *exec.Cmd, ready *os.File, err error) {
	order, err := orderFile(h.order)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = order.Close() }()
	ready, told, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = told.Close() }()
	cmd = exec.Command(h.program)
	cmd.Dir = h.dir
	cmd.Env = []string{}
	cmd.Stdin = order
	if stdio.Stderr != nil { // not a nil *os.File in an interface
		cmd.Stderr = stdio.Stderr
	}
	cmd.ExtraFiles = append([]*os.File{h.far, told, lock}, h.more...) // as sidecar numbers them
	cmd.SysProcAttr = apart(stdio)
	if err := cmd.Start(); err != nil {
		return nil, ready, fmt.Errorf("start %s: %w", h.program, err)
	}
	return cmd, ready, nil
}

// helper is the mvm-netd of a container that is plugged in.
func (p *plug) helper() (*helper, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // it needs none
	}
	program, err := findProgram(NetProgram)
	if err != nil {
		return nil, fmt.Errorf("%w; or run it with --network none", err)
	}
	return &helper{program: program, dir: "/", order: p.network, link: p.near, far: p.far}, nil
}

// foldersHelper is a mvm-fsd, if there are folders of the host to be served.
func foldersHelper(mounts []Mount, dir string) (*helper, error) {
	mounts = shared(mounts)
	if len(mounts) == 0 {
		return nil, nil //nolint:nilnil // it needs none
	}
	program, err := findProgram(FoldersProgram)
	if err != nil {
		return nil, err
	}
	order := hostfs.Order{Socket: foldersSocket()}
	h := &helper{program: program, dir: dir}
	for _, m := range mounts {
		f, file, err := hostfs.Open(m.Source)
		if err == nil {
			h.more = append(h.more, f)
		}
		if err == nil && file != m.File {
			err = fmt.Errorf("share %s with the container: it was a folder and is a file now, or the other way round: make the container anew", m.Source)
		}
		if err != nil {
			closeFiles(h.more)
			return nil, err
		}
		order.Folders = append(order.Folders, hostfs.Folder{ReadOnly: m.ReadOnly})
	}
	h.order = order
	if h.far, h.link, err = os.Pipe(); err != nil {
		closeFiles(h.more)
		return nil, err
	}
	h.own = append(slices.Clone(h.more), h.far)
	return h, nil
}

// orderFile holds what a helper is to be, to be read from the beginning.
func orderFile(order any) (*os.File, error) {
	text, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("order", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "order")
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
