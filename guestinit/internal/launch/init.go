package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// InitName is the argument that makes guestinit a container's init: the parent
// of its process, which passes signals on and reaps orphans. In ps it reads
// "/sbin/mvm-init -- COMMAND...".
const InitName = "--"

const initPath = "/sbin/mvm-init"

// verdictFD is where the init tells why its process could not be started; its end
// says that it runs. PID 1 has something else there all its life.
const verdictFD = 3

// maxVerdict bounds the verdict's JSON, in bytes.
const maxVerdict = 64 << 10

// init has the child become the init, which has the process's user and privileges,
// and starts the process.
func (l *Launch) init(args []string) error {
	if len(args) == 0 {
		return errNoCommand
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	l.verdict, l.files = r, append(l.files, w)
	if w.Fd() == verdictFD || l.out.Fd() == verdictFD || l.order.Self.Fd() == verdictFD {
		return errors.New("file 3 is not PID 1's own")
	}
	l.plan.do(because("hand on a pipe"), unix.SYS_DUP3, w.Fd(), verdictFD, 0)
	l.self(append([]string{initPath, InitName}, args...), l.env)
	return nil
}

// Verdict waits until the process, if it has an init, has been started by that, or
// says why not.
func (l *Launch) Verdict() error {
	if l.verdict == nil {
		return nil
	}
	defer func() { _ = l.verdict.Close() }()
	var why proto.Error
	err := proto.ReadFrame(l.verdict, &why, maxVerdict)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("hear from the container's init: %w", err)
	}
	return &why
}

// Init does not return: it starts args, and ends as that does.
func Init(args []string) {
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(initPath)), 0) // for ps: it was executed by a number
	unix.CloseOnExec(verdictFD)
	// All of them, from before there is anything to pass them on to: the kernel
	// drops what the first process of a PID namespace has no handler for.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pid, err := forkExec(args)
	verdict := os.NewFile(verdictFD, "verdict")
	if err != nil {
		why := proto.ErrorOf(err)
		_ = proto.WriteFrame(verdict, why, maxVerdict)
		os.Exit(why.Status())
	}
	_ = verdict.Close()
	go passOn(signals, pid) // as long as this process
	os.Exit(reapUntil(pid))
}

// forkExec starts the program that args name, as the foreground of the terminal if
// there is one.
func forkExec(args []string) (int, error) {
	errno := unix.ENOENT
	for _, path := range candidates(args[0], os.Environ()) {
		pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
			Env:   os.Environ(),
			Files: []uintptr{0, 1, 2},
			Sys:   &syscall.SysProcAttr{Setpgid: true, Foreground: hasTerminal(), Ctty: 0},
		})
		if err == nil {
			return pid, nil
		}
		if errno == unix.ENOENT || errno == unix.ENOTDIR {
			_ = errors.As(err, &errno) // as execvp(3)
		}
	}
	return 0, notStarted(args[0], errno)
}

// hasTerminal says whether stdin is a terminal: then the process's group is to be
// its foreground.
func hasTerminal() bool {
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	return err == nil
}

// passOn sends the signals on that are meant for the process.
func passOn(signals <-chan os.Signal, pid int) {
	for s := range signals {
		switch s {
		case syscall.SIGCHLD, syscall.SIGURG: // the kernel's, and the Go runtime's own
		case syscall.SIGTTIN, syscall.SIGTTOU: // the terminal's, for this process
		default:
			_ = unix.Kill(pid, s.(syscall.Signal)) // it may just have ended
		}
	}
}

// reapUntil waits for every child until pid has ended, and returns its status.
func reapUntil(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return (&proto.Error{}).Status()
		case got == pid && status.Signaled():
			return 128 + int(status.Signal())
		case got == pid:
			return status.ExitStatus()
		}
	}
}
