// Package stage is the first stage of a container's process: guestinit, started
// again by itself in the container's new namespaces, completes them, or joins
// those that are there, and then becomes the process.
//
//	PID 1                                 stage
//	  | -- fork, exec /init container ----> |  fd 3: a socket to PID 1
//	  | -- Order -------------------------> |  mounts, terminal, user, limits
//	  | <- Report{PID}, the terminal ------ |
//	  |                                     |  exec: closes the socket
//	  | <- Report{Error} ------------------ |  or this, if it failed
package stage

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Name is the argument that makes guestinit a first stage.
const Name = "container"

// File descriptors of the first stage besides the standard three.
const (
	SocketFD = 3 // to PID 1
	JoinFD   = 4 // a pidfd of the process whose namespaces are to be joined, if any
)

// MaxOrder bounds an Order's JSON, and MaxReport a Report's, in bytes.
const (
	MaxOrder  = 2 * proto.MaxRequest
	MaxReport = 64 << 10
)

// Order is what the first stage is told.
type Order struct {
	Container proto.Container
	Process   proto.Process
	// Root is where the container's root is mounted. Empty: the namespaces of
	// JoinFD are joined.
	Root string `json:",omitempty"`
}

// Report is what the first stage tells: with PID, that all is well but for the
// exec, which ends the connection; with Error, why the process never began.
type Report struct {
	// PID is the process's number in its PID namespace.
	PID   int          `json:",omitempty"`
	Error *proto.Error `json:",omitempty"`
}

// Main does not return: it becomes the container's process or reports why not.
func Main() {
	runtime.LockOSThread() // credentials are a thread's; exec keeps the caller's
	unix.CloseOnExec(SocketFD)
	unix.CloseOnExec(JoinFD)
	socket := os.NewFile(SocketFD, "PID 1")
	err := become(socket)
	why := proto.ErrorOf(err)
	_ = proto.WriteFrame(socket, Report{Error: why}, MaxReport)
	os.Exit(why.Status())
}

// become becomes the container's process; it returns only the reason why not.
func become(socket *os.File) error {
	var o Order
	if err := proto.ReadFrame(socket, &o, MaxOrder); err != nil {
		return fmt.Errorf("hear from PID 1: %w", err)
	}
	unix.Umask(0) // for what is made here
	enter := enterRoot
	if o.Root == "" {
		enter = join
	}
	if err := enter(o); err != nil {
		return err
	}
	if o.Process.Archive != nil {
		return archived(socket, *o.Process.Archive)
	}
	terminal := -1
	if o.Process.TTY != nil {
		var err error
		if terminal, err = openTerminal(*o.Process.TTY, o.Root != ""); err != nil {
			return err
		}
	}
	env, err := prepare(o)
	if err != nil {
		return err
	}
	if err := ready(terminal); err != nil {
		return err
	}
	if o.Process.Init {
		return becomeInit(o.Process.Args, env)
	}
	return execute(o.Process.Args, env)
}

// ready tells PID 1 that only the exec is left, and gives it the terminal.
func ready(terminal int) error {
	frame, err := proto.AppendFrame(nil, Report{PID: os.Getpid()}, MaxReport)
	if err != nil {
		return err
	}
	var rights []byte
	if terminal >= 0 {
		rights = unix.UnixRights(terminal)
		defer func() { _ = unix.Close(terminal) }()
	}
	if err := unix.Sendmsg(SocketFD, frame, rights, nil, 0); err != nil {
		return fmt.Errorf("report to PID 1: %w", err)
	}
	return nil
}

// join enters the mount namespace, and with it the root, of JoinFD; PID 1's
// thread that started this process has joined the others.
func join(Order) error {
	// A thread that shares its root and folder cannot change mount namespaces.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("join the container: %w", err)
	}
	if err := unix.Setns(JoinFD, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("join the container's mounts: %w", err)
	}
	return nil
}

// prepare takes on what the process is to be, and returns its environment. The
// order matters: what needs privileges comes before they are given up.
func prepare(o Order) ([]string, error) {
	p := o.Process
	if err := setLimits(p); err != nil {
		return nil, err
	}
	account, err := lookUp(p)
	if err != nil {
		return nil, err
	}
	if err := setPrivileges(p); err != nil {
		return nil, err
	}
	if err := setUser(account); err != nil {
		return nil, err
	}
	if err := changeDir(p.Cwd, o.Root != ""); err != nil {
		return nil, err
	}
	umask := 0o022
	if p.Umask != nil {
		umask = int(*p.Umask & 0o777)
	}
	unix.Umask(umask)
	env := withDefault(p.Env, "PATH", defaultPath)
	if p.TTY != nil {
		env = withDefault(env, "TERM", "xterm")
	}
	return withDefault(env, "HOME", account.Home), nil
}

var errNoCommand = errors.New("no command: neither the image nor the command line names one")
