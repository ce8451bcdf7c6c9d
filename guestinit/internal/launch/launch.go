// Package launch starts a container's processes. A thread of PID 1 makes or joins
// the container's namespaces and prepares in Go all that can be; a child, made
// with PID 1's memory and another PID namespace, carries out the few system calls
// that only it can make, and becomes the process.
//
//	thread of PID 1                                 child
//	  | Prepare: namespaces, root, mounts,
//	  |   terminal, user, the plan
//	  | Start: clone3(CLONE_VM | CLONE_VFORK) ------> | the plan, call by call: /proc, terminal,
//	  |   waits                                       |   limits, privileges, user, working folder
//	  |                                               | execve
//	  | <- outcome{call, errno}, or the pipe's end -- |
//	  v ends, with the namespaces it is in            v the process
//
// Starting another Go program to do this, as container engines do, costs more
// than all of the rest.
package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Order is what is to be started.
type Order struct {
	Container proto.Container
	Process   proto.Process
	// Root is where the container's root is mounted, for its first process: the
	// namespaces are made.
	Root string
	// First is the pidfd of the container's first process, for others: they join
	// its namespaces.
	First int
	// Cgroup is the container's group's folder.
	Cgroup *os.File
	// Stdio are the process's standard streams.
	Stdio []*os.File
	// Self is guestinit's program, which container's init and archives are.
	Self *os.File
}

// Launch is a process that is ready to be started.
type Launch struct {
	// Terminal is the master of its terminal, if it has one.
	Terminal *os.File

	order   Order
	plan    plan
	env     []string
	in, out *os.File   // what failed
	gate    *os.File   // in a user namespace: closed when the child's IDs are mapped
	verdict *os.File   // a container's init tells there how its start went
	files   []*os.File // what only the child needs
}

// Started is a process that has begun.
type Started struct {
	PID   int // as PID 1 sees it
	Inner int // in its own PID namespace
	PIDFD int
}

// Prepare gets everything ready, on the calling thread, which must be locked and
// end after Start: it is in the container's namespaces afterwards.
func Prepare(o Order) (*Launch, error) {
	l := &Launch{order: o}
	err := l.prepare()
	if err != nil {
		l.Close()
		return nil, l.fail(err)
	}
	return l, nil
}

func (l *Launch) prepare() error {
	enter := l.join
	if l.first() {
		enter = l.enterRoot
	}
	if err := enter(); err != nil {
		return err
	}
	var err error
	if l.in, l.out, err = os.Pipe(); err != nil {
		return err
	}
	return l.write()
}

// write writes the plan. The order matters: what needs privileges comes before
// they are given up.
func (l *Launch) write() error {
	p := l.order.Process
	if l.ownUsers() {
		if err := l.awaitIDs(); err != nil {
			return err
		}
	}
	l.plan.do(because("begin a session"), unix.SYS_SETSID)
	if err := l.streams(); err != nil {
		return err
	}
	if l.first() {
		l.innerMounts()
	}
	if p.Archive != nil {
		return l.archive(*p.Archive)
	}
	if err := l.limits(); err != nil {
		return err
	}
	account, err := lookUp(p)
	if err != nil {
		return err
	}
	if err := l.privileges(); err != nil {
		return err
	}
	l.user(account)
	if err := l.changeDir(); err != nil {
		return err
	}
	l.env = withDefault(p.Env, "PATH", defaultPath)
	if p.TTY != nil {
		l.env = withDefault(l.env, "TERM", "xterm")
	}
	l.env = withDefault(l.env, "HOME", account.Home)
	umask := 0o022
	if p.Umask != nil {
		umask = int(*p.Umask & 0o777)
	}
	l.plan.do(because("set the umask"), unix.SYS_UMASK, uintptr(umask))
	if p.Init {
		return l.init(p.Args)
	}
	return l.program(p.Args)
}

// Start makes the child and waits for its exec. The limits of the container's
// cgroup hold for it from the start.
func (l *Launch) Start() (Started, error) {
	b, err := l.plan.start(l.flags(), l.order.Cgroup, l.out)
	if err != nil {
		return Started{}, l.fail(fmt.Errorf("start a process: %w", err))
	}
	if l.ownUsers() {
		err = mapIDs(b.pid, l.order.Container)
		b.inner = b.pid
		if l.order.Container.Own(proto.PIDNamespace) {
			b.inner = 1
		}
	}
	// From here on the child's ends are all there are.
	_ = l.out.Close()
	_ = l.gate.Close()
	closeAll(l.files)
	if err = errors.Join(err, l.plan.told(l.in)); err != nil {
		_ = unix.Close(b.pidfd)
		return Started{}, l.fail(err)
	}
	return Started{b.pid, b.inner, b.pidfd}, nil
}

// flags are clone3's: the namespaces that the thread is not in, and PID 1's memory.
func (l *Launch) flags() uint64 {
	const shared = unix.CLONE_VM | unix.CLONE_VFORK
	own := uint64(flagsOf(l.order.Container))
	switch {
	case l.ownUsers():
		return own | unix.CLONE_NEWNS
	case l.first():
		return own&childFlags | shared
	}
	return shared
}

// fail is err; nothing will need what a started process would.
func (l *Launch) fail(err error) error {
	closeAll([]*os.File{l.Terminal, l.verdict})
	return err
}

// Close gives back what only the start needs: not Terminal, nor what Verdict does.
func (l *Launch) Close() {
	closeAll([]*os.File{l.in, l.out, l.gate})
	closeAll(l.files)
}

// closeAll closes files, of which some may be nil or closed.
func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (l *Launch) first() bool { return l.order.Root != "" }

// ownUsers says whether the child is to be in a user namespace of its own, which
// a thread cannot make for it: the child shares no memory with PID 1 then.
func (l *Launch) ownUsers() bool { return l.first() && l.order.Container.Own(proto.UserNamespace) }

// because makes a call's failure an error.
func because(what string) func(unix.Errno) error {
	return func(errno unix.Errno) error { return fmt.Errorf("%s: %w", what, errno) }
}

// join enters all namespaces of the container's first process.
func (l *Launch) join() error {
	// A thread that shares its root and folder cannot change mount namespaces.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("join the container: %w", err)
	}
	err := unix.Setns(l.order.First, unix.CLONE_NEWNS|flagsOf(l.order.Container))
	if errors.Is(err, unix.ESRCH) {
		return proto.Errorf(proto.NoContainer, "container %s has ended", l.order.Container.ID)
	}
	if err != nil {
		return fmt.Errorf("join the container: %w", err)
	}
	unix.Umask(0) // for what is made here
	return nil
}

// childFlags are the namespaces that a thread cannot be in: the child's begin with
// it.
const childFlags = unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// flagsOf are the namespaces, but for mount, that a container has of its own.
func flagsOf(c proto.Container) int {
	flags := map[proto.Namespace]int{
		proto.PIDNamespace: unix.CLONE_NEWPID, proto.UTSNamespace: unix.CLONE_NEWUTS,
		proto.IPCNamespace: unix.CLONE_NEWIPC, proto.NetworkNamespace: unix.CLONE_NEWNET,
		proto.UserNamespace: unix.CLONE_NEWUSER, proto.CgroupNamespace: unix.CLONE_NEWCGROUP,
		proto.TimeNamespace: unix.CLONE_NEWTIME,
	}
	all := 0
	for kind, flag := range flags {
		if c.Own(kind) {
			all |= flag
		}
	}
	return all
}

// awaitIDs lets the child wait until it is somebody in its user namespace, and
// makes it root there.
func (l *Launch) awaitIDs() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	l.gate, l.files = w, append(l.files, r)
	// The child's copy of the writing end would keep the pipe open.
	l.plan.do(because("close a pipe"), unix.SYS_CLOSE, w.Fd())
	l.plan.do(because("wait for the user namespace"), unix.SYS_READ, r.Fd(), address(&l.plan, new(byte)), 1)
	l.plan.do(because("be root in the user namespace"), unix.SYS_SETRESGID, 0, 0, 0)
	l.plan.do(because("be root in the user namespace"), unix.SYS_SETRESUID, 0, 0, 0)
	return nil
}

// mapIDs gives a child its users and groups (user_namespaces(7)).
func mapIDs(pid int, c proto.Container) error {
	for file, maps := range map[string][]proto.IDMap{"uid_map": c.Users, "gid_map": c.Groups} {
		var text []byte
		for _, m := range maps {
			text = fmt.Appendf(text, "%d %d %d\n", m.Inside, m.Outside, m.Size)
		}
		if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/"+file, text, 0); err != nil {
			return proto.Errorf(proto.Invalid, "map users and groups: %w", err)
		}
	}
	return nil
}
