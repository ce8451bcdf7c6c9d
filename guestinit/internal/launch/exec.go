package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// withDefault adds name=value to env if it has no name.
func withDefault(env []string, name, value string) []string {
	for _, e := range env {
		if strings.HasPrefix(e, name+"=") {
			return env
		}
	}
	return append(env, name+"="+value)
}

// makeDir makes a container's working directory if it is missing, as docker does.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Join("/", dir), 0o755); err != nil {
		return proto.Errorf(proto.NotExecutable, "working directory: %w", err)
	}
	return nil
}

// changeDir has the child go to the working directory.
func (l *Launch) changeDir() error {
	dir := filepath.Join("/", l.order.Process.Cwd)
	l.plan.do(func(errno unix.Errno) error {
		code := proto.NotExecutable
		if errno == unix.ENOENT {
			code = proto.NotFound
		}
		return proto.Errorf(code, "working directory %s: %w", dir, errno)
	}, unix.SYS_CHDIR, l.plan.text(dir))
	return nil
}

// program has the child become the program that args name.
func (l *Launch) program(args []string) error {
	if len(args) == 0 {
		return errNoCommand
	}
	l.letSignals()
	argv, envp := l.plan.texts(args), l.plan.texts(l.env)
	for _, path := range candidates(args[0], l.env) {
		failed := func(errno unix.Errno) error { return notStarted(args[0], errno) }
		l.plan.do(failed, unix.SYS_EXECVE, l.plan.text(path), argv, envp).exec = true
	}
	return nil
}

// self has the child become guestinit again.
func (l *Launch) self(args, env []string) {
	l.letSignals()
	l.plan.do(because("start guestinit"), unix.SYS_EXECVEAT, l.order.Self.Fd(), l.plan.text(""),
		l.plan.texts(args), l.plan.texts(env), unix.AT_EMPTY_PATH)
}

// letSignals has the child let signals in again, to which it has no handlers.
func (l *Launch) letSignals() {
	l.plan.do(because("let signals in"), unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&l.plan, new(uint64)), 0, 8)
}

// candidates are the paths that a command may mean, at least one, the first that
// is there first, as in execvp(3).
func candidates(name string, env []string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var paths []string
	for _, dir := range filepath.SplitList(pathOf(env)) {
		if dir == "" {
			dir = "."
		}
		paths = append(paths, dir+"/"+name)
	}
	return append(paths, "")[:max(len(paths), 1)] // no PATH: "" is never there
}

var errNoCommand = errors.New("no command: neither the image nor the command line names one")

func pathOf(env []string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			return v
		}
	}
	return ""
}

// notStarted explains a failed exec, in the container's root.
func notStarted(name string, errno unix.Errno) error {
	switch {
	case (errno == unix.ENOENT || errno == unix.ENOTDIR) && !strings.Contains(name, "/"):
		return proto.Errorf(proto.NotFound, "exec: %q: executable file not found in $PATH", name)
	case errno == unix.ENOENT:
		return proto.Errorf(proto.NotFound, "exec: %q: %w", name, errno)
	case errno == unix.E2BIG:
		return proto.Errorf(proto.NotExecutable, "exec: %q: the arguments and the environment are too long for Linux: 128 KiB each, 2 MiB together", name)
	case isDir(name):
		return proto.Errorf(proto.NotExecutable, "exec: %q: is a directory", name)
	}
	return proto.Errorf(proto.NotExecutable, "exec: %q: %w", name, errno)
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
