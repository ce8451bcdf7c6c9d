package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// stageName is the argument that makes this program the first stage of a
// container's process: in the container's namespaces already, it completes them
// and then becomes the process.
const stageName = "container"

// stage does not return: it becomes the container's process or reports why not.
func stage() {
	runtime.LockOSThread() // credentials are a thread's; exec keeps the caller's
	exit := become()
	text, err := json.Marshal(exit)
	if err == nil {
		_, _ = unix.Write(reportFD, text)
	}
	os.Exit(exit.Code)
}

// become becomes the container's process; it returns only the reason why not.
func become() proto.Exit {
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(reportFD)
	var c proto.Container
	if err := json.NewDecoder(os.NewFile(orderFD, "order")).Decode(&c); err != nil {
		return failed(fmt.Errorf("hear from PID 1: %w", err))
	}
	if err := enterRoot(c); err != nil {
		return failed(err)
	}
	env, err := setUser(c.Process)
	if err != nil {
		return failed(err)
	}
	if err := changeDir(c.Process.Cwd); err != nil {
		return failed(err)
	}
	return execute(c.Process.Args, env)
}

// enterRoot makes rootDir the root of this mount namespace, with everything
// mounted in it.
func enterRoot(c proto.Container) error {
	unix.Umask(0)
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("set the hostname %q: %w", c.Hostname, err)
	}
	// pivot_root does not work from the initramfs: moving the mount over the
	// root does (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
	if err := unix.Chdir(rootDir); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the container's root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("change to the container's root: %w", err)
	}
	if err := mountAll(kernelMounts()); err != nil {
		return err
	}
	if err := makeDevices(); err != nil {
		return err
	}
	if err := writeEtc(c.Hostname); err != nil {
		return err
	}
	if err := mountAll(tmpfsMounts(c.Tmpfs)); err != nil {
		return err
	}
	if c.Root.ReadOnly {
		return mount{"", "/", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""}.do()
	}
	return nil
}

// maxAccounts bounds what is read of an image's /etc/passwd or /etc/group.
const maxAccounts = 16 << 20

// setUser takes on the process's user and groups, and returns its environment
// with what docker adds.
func setUser(p proto.Process) ([]string, error) {
	passwd, group := accounts("/etc/passwd"), accounts("/etc/group")
	defer passwd.Close()
	defer group.Close()
	u, err := user.GetExecUser(p.User, &user.ExecUser{Home: "/"},
		io.LimitReader(passwd, maxAccounts), io.LimitReader(group, maxAccounts))
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", p.User, err)
	}
	// The streams are the process's own, also by name (/dev/stdout).
	for fd := range 3 {
		_ = unix.Fchown(fd, u.Uid, -1) // /dev/null stays root's on a read-only root
	}
	if err := unix.Setgroups(u.Sgids); err != nil {
		return nil, fmt.Errorf("set groups %v: %w", u.Sgids, err)
	}
	if err := unix.Setresgid(u.Gid, u.Gid, u.Gid); err != nil {
		return nil, fmt.Errorf("set group %d: %w", u.Gid, err)
	}
	if err := unix.Setresuid(u.Uid, u.Uid, u.Uid); err != nil {
		return nil, fmt.Errorf("set user %d: %w", u.Uid, err)
	}
	env := withDefault(p.Env, "PATH", defaultPath)
	return withDefault(env, "HOME", u.Home), nil
}

// accounts opens a file that an image need not have.
func accounts(path string) io.ReadCloser {
	f, err := os.Open(path)
	if err != nil {
		return io.NopCloser(strings.NewReader(""))
	}
	return f
}

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

// changeDir goes to the working directory, made if it is missing, as docker does.
func changeDir(dir string) error {
	if dir == "" {
		return nil
	}
	dir = filepath.Join("/", dir)
	err := unix.Chdir(dir)
	if errors.Is(err, unix.ENOENT) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
		err = unix.Chdir(dir)
	}
	if err != nil {
		return fmt.Errorf("working directory %s: %w", dir, err)
	}
	return nil
}

// execute becomes the program args names; it returns only if it cannot.
func execute(args, env []string) proto.Exit {
	if len(args) == 0 {
		return failed(errors.New("no command: neither the image nor the command line names one"))
	}
	name := args[0]
	if strings.Contains(name, "/") {
		return notStarted(name, unix.Exec(name, args, env))
	}
	err := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(pathOf(env)) {
		if dir == "" {
			dir = "."
		}
		// As execvp(3): go on past what is not there or not allowed, but remember
		// the latter.
		if e := unix.Exec(dir+"/"+name, args, env); !errors.Is(e, unix.ENOENT) && !errors.Is(e, unix.ENOTDIR) {
			err = e
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return proto.Exit{Code: codeNotFound, Error: fmt.Sprintf("exec: %q: executable file not found in $PATH", name)}
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
func notStarted(name string, err error) proto.Exit {
	code := codeNotExecutable
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		code = codeNotFound
	case isDir(name):
		err = errors.New("is a directory")
	}
	return proto.Exit{Code: code, Error: fmt.Sprintf("exec: %q: %v", name, err)}
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
