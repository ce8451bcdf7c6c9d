package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/reaper"
	"github.com/mvm-project/mvm/guestinit/internal/stage"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// fork starts p's first stage and tells it what to be, while p's streams are
// being connected to the host. It needs mu.
func (s *session) fork(p *process, spec proto.Process) error {
	c := p.container
	order := stage.Order{Container: c.Container, Process: spec}
	if p.first {
		order.Root = c.root.mergedDir()
	}
	frame, err := proto.AppendFrame(nil, order, stage.MaxOrder)
	if err != nil {
		return err
	}
	near, far, err := sockets()
	if err != nil {
		return err
	}
	defer func() { _ = far.Close() }()
	group, err := c.group.Folder()
	if err != nil {
		return errors.Join(err, near.Close())
	}
	defer func() { _ = group.Close() }()
	stdio, err := s.makeStreams(p, spec)
	if err != nil {
		return errors.Join(err, near.Close())
	}
	defer stdio.close()
	p.socket = near
	p.pid, err = s.reaper.Start(func() (int, error) { return s.clone(p, stdio, far, group) }, func(e reaper.Ending) { p.ended <- e })
	if err != nil {
		p.disconnect()
		return errors.Join(explainFork(err, c), near.Close())
	}
	_, _ = near.Write(frame) // one that has ended told why, or readReport finds out
	return nil
}

// explainFork names the limit that a process's start ran into.
func explainFork(err error, c *container) error {
	switch {
	case errors.Is(err, unix.EAGAIN) && c.Limits.PIDs > 0:
		return fmt.Errorf("start a process: the container has as many as its limit of %d lets it: %w", c.Limits.PIDs, err)
	case errors.Is(err, unix.ESRCH):
		return proto.Errorf(proto.NoContainer, "start a process: container %s has ended", c.ID)
	}
	return fmt.Errorf("start a process: %w", err)
}

// clone starts the first stage: in new namespaces, or in those of the container's
// first process, but for its mounts, which the stage joins.
func (s *session) clone(p *process, stdio files, far, group *os.File) (int, error) {
	attr := &syscall.ProcAttr{
		Env:   []string{},
		Files: []uintptr{stdio[0].Fd(), stdio[1].Fd(), stdio[2].Fd(), far.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd()), PidFD: &p.pidfd},
	}
	c := p.container
	args := []string{s.exe, stage.Name}
	if !p.first {
		attr.Files = append(attr.Files, uintptr(c.first.pidfd))
		return joined(c, func() (int, error) { return syscall.ForkExec(s.exe, args, attr) })
	}
	attr.Sys.Cloneflags = unix.CLONE_NEWNS | uintptr(flagsOf(c.Container))
	if slices.Contains(namespaces(c.Container), proto.UserNamespace) {
		attr.Sys.UidMappings, attr.Sys.GidMappings = mappings(c.Users), mappings(c.Groups)
		attr.Sys.GidMappingsEnableSetgroups = true
		attr.Sys.Credential = &syscall.Credential{} // root, inside
	}
	return syscall.ForkExec(s.exe, args, attr)
}

// joined runs fork on a thread that has joined c's namespaces, which ends after.
func joined(c *container, fork func() (int, error)) (pid int, err error) {
	kinds := namespaces(c.Container)
	for _, alone := range []proto.Namespace{proto.UserNamespace, proto.TimeNamespace} {
		if slices.Contains(kinds, alone) {
			return 0, proto.Errorf(proto.Invalid, "a container with a %s namespace of its own runs one process", alone)
		}
	}
	done := make(chan struct{})
	go func() { // ends at once; never unlocked, so that the thread ends with it
		defer close(done)
		runtime.LockOSThread()
		if flags := flagsOf(c.Container); flags != 0 {
			if err = unix.Setns(c.first.pidfd, flags); err != nil {
				return
			}
		}
		pid, err = fork()
	}()
	<-done
	return pid, err
}

func namespaces(c proto.Container) []proto.Namespace {
	if c.Namespaces == nil {
		return proto.DefaultNamespaces()
	}
	return c.Namespaces
}

// flagsOf are the namespaces, but for mount, that a container has of its own.
func flagsOf(c proto.Container) int {
	flags := map[proto.Namespace]int{
		proto.PIDNamespace: unix.CLONE_NEWPID, proto.UTSNamespace: unix.CLONE_NEWUTS,
		proto.IPCNamespace: unix.CLONE_NEWIPC, proto.NetworkNamespace: unix.CLONE_NEWNET,
		proto.UserNamespace: unix.CLONE_NEWUSER, proto.CgroupNamespace: unix.CLONE_NEWCGROUP,
		proto.TimeNamespace: unix.CLONE_NEWTIME,
	}
	all := 0
	for _, kind := range namespaces(c) {
		all |= flags[kind]
	}
	return all
}

func mappings(maps []proto.IDMap) []syscall.SysProcIDMap {
	list := make([]syscall.SysProcIDMap, 0, len(maps))
	for _, m := range maps {
		list = append(list, syscall.SysProcIDMap{ContainerID: int(m.Inside), HostID: int(m.Outside), Size: int(m.Size)})
	}
	return list
}

// sockets makes the connection between PID 1 (near) and a first stage (far).
func sockets() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "stage"), os.NewFile(uintptr(fds[1]), "stage"), nil
}

// readReport reads what the first stage tells, to the end, which comes with its
// exec; and the terminal it made, if any.
func readReport(socket *os.File) (r stage.Report, terminal *os.File, err error) {
	defer func() { _ = socket.Close() }()
	text, rights, err := receiveAll(socket)
	if err != nil {
		return r, nil, fmt.Errorf("hear from the first stage: %w", err)
	}
	if terminal, err = fileOf(rights); err != nil {
		return r, nil, err
	}
	for in := bytes.NewReader(text); in.Len() > 0 && err == nil; {
		err = proto.ReadFrame(in, &r, stage.MaxReport)
	}
	switch {
	case err != nil:
	case r.Error != nil:
		err = r.Error
	case r.PID == 0:
		err = errors.New("the process's first stage died: of the container's limits, perhaps")
	default:
		return r, terminal, nil
	}
	if terminal != nil {
		_ = terminal.Close()
	}
	return r, nil, err
}

// receiveAll reads a socket to its end, and the descriptors sent along.
func receiveAll(socket *os.File) (text, rights []byte, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for len(text) <= stage.MaxReport {
		var n, oobn int
		var recvErr error
		err := raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, recvErr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
			return !errors.Is(recvErr, unix.EAGAIN) && !errors.Is(recvErr, unix.EINTR)
		})
		if err := errors.Join(err, recvErr); err != nil && !errors.Is(err, unix.ECONNRESET) {
			return nil, nil, err
		}
		if n == 0 {
			break
		}
		text = append(text, buf[:n]...)
		rights = append(rights, oob[:oobn]...)
	}
	return text, rights, nil
}

// fileOf is the one descriptor in a control message; nil if there is none.
func fileOf(rights []byte) (*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
