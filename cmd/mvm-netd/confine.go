package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/mvm-project/mvm/internal/seccomp"
)

// nobody is the user without rights.
const nobody = 65534

// confine gives up what the network does not need once its ports are open: the
// user's files but for those in readable folders, other processes, root's rights, and
// those that a program could give.
func confine(readable ...string) error {
	if err := restrict(readable...); err != nil {
		return err
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("give up new privileges: %w", errno)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	err := syscall.Setgroups(nil)
	if err == nil {
		err = syscall.Setresgid(nobody, nobody, nobody)
	}
	if err == nil {
		err = syscall.Setresuid(nobody, nobody, nobody)
	}
	// In a user namespace without such a user, root is none on the host.
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("give up root's rights: %w", err)
	}
	return nil
}

// rules are the system calls of packages usernet and net, and to read what tells of
// names.
func rules() seccomp.Rules {
	return seccomp.Rules{
		Calls: []string{
			"accept4", "bind", "connect", "getdents64", "getpeername", "getsockname", "getsockopt", "listen", "newfstatat", "openat",
			"readlinkat", "recvfrom", "recvmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "writev",
		},
		Sockets: []uint64{unix.AF_INET, unix.AF_INET6},
	}
}

// restrict leaves of the file system what tells of the host's name servers, and of
// other processes nothing, as far as the host's kernel has Landlock.
func restrict(readable ...string) error {
	folders := append([]string{"/etc"}, readable...)
	if path, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	l := landlock.V6.BestEffort()
	err := l.RestrictPaths(landlock.RODirs(folders...).IgnoreIfMissing())
	if err == nil {
		err = l.RestrictScoped()
	}
	if err != nil {
		return fmt.Errorf("give up the host's files: %w", err)
	}
	return nil
}
