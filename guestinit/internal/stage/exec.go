package stage

import (
	"errors"
	"fmt"
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

// changeDir goes to the working directory. As docker does, a container's own is
// made if it is missing, an exec's is not.
func changeDir(dir string, make bool) error {
	dir = filepath.Join("/", dir)
	err := unix.Chdir(dir)
	if errors.Is(err, unix.ENOENT) && make {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
		err = unix.Chdir(dir)
	}
	if err == nil {
		return nil
	}
	code := proto.NotExecutable
	if errors.Is(err, unix.ENOENT) {
		code = proto.NotFound
	}
	return proto.Errorf(code, "working directory %s: %w", dir, err)
}

// execute becomes the program args names; it returns only if it cannot.
func execute(args, env []string) error {
	return search(args, env, func(path string) error { return unix.Exec(path, args, env) })
}

// search calls run with each path that args[0] may mean, until one does not
// return an error.
func search(args, env []string, run func(path string) error) error {
	if len(args) == 0 {
		return errNoCommand
	}
	name := args[0]
	if strings.Contains(name, "/") {
		return notStarted(name, run(name))
	}
	err := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(pathOf(env)) {
		if dir == "" {
			dir = "."
		}
		// As execvp(3): go on past what is not there or not allowed, but remember
		// the latter.
		e := run(dir + "/" + name)
		if e == nil {
			return nil
		}
		if !errors.Is(e, unix.ENOENT) && !errors.Is(e, unix.ENOTDIR) {
			err = e
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return proto.Errorf(proto.NotFound, "exec: %q: executable file not found in $PATH", name)
	}
	return notStarted(name, err)
}

func pathOf(env []string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			return v
		}
	}
	return ""
}

// notStarted explains a failed exec.
func notStarted(name string, err error) error {
	code := proto.NotExecutable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		code = proto.NotFound
	case errors.Is(err, unix.E2BIG):
		return proto.Errorf(code, "exec: %q: the arguments and the environment are too long for Linux: 128 KiB each, 2 MiB together", name)
	case isDir(name):
		err = errors.New("is a directory")
	}
	return proto.Errorf(code, "exec: %q: %w", name, err)
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
