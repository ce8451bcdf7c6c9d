package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// nobody is the user without rights.
const nobody = 65534

// confine gives up what the network does not need once its ports are open: the
// user's files but for those in readable folders, other processes, and root's
// rights.
func confine(readable ...string) error {
	if err := restrict(readable...); err != nil {
		return err
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
