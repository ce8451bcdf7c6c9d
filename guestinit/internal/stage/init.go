package stage

import (
	"errors"
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

// becomeInit becomes the init, which has the process's user and privileges, and
// starts the process. PID 1 hears of the exec, or why it failed, as ever.
func becomeInit(args, env []string) error {
	if _, err := unix.FcntlInt(SocketFD, unix.F_SETFD, 0); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", append([]string{initPath, InitName}, args...), env)
}

// Init does not return: it starts args, and ends as that does.
func Init(args []string) {
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(initPath)), 0) // for ps: it was executed as "exe"
	unix.CloseOnExec(SocketFD)
	// All of them, from before there is anything to pass them on to: the kernel
	// drops what the first process of a PID namespace has no handler for.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	var pid int
	err := search(args, os.Environ(), func(path string) (err error) {
		pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
			Env:   os.Environ(),
			Files: []uintptr{0, 1, 2},
			Sys:   &syscall.SysProcAttr{Setpgid: true, Foreground: hasTerminal(), Ctty: 0},
		})
		return err
	})
	socket := os.NewFile(SocketFD, "PID 1")
	if err != nil {
		why := proto.ErrorOf(err)
		_ = proto.WriteFrame(socket, Report{Error: why}, MaxReport)
		os.Exit(why.Status())
	}
	_ = socket.Close()
	go passOn(signals, pid) // as long as this process
	os.Exit(reapUntil(pid))
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
