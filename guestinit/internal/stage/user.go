package stage

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// maxAccounts bounds what is read of an image's /etc/passwd or /etc/group.
const maxAccounts = 16 << 20

// lookUp finds the process's user and groups in the image's files.
func lookUp(p proto.Process) (*user.ExecUser, error) {
	passwd, group := accounts("/etc/passwd"), accounts("/etc/group")
	defer func() { _ = passwd.Close() }()
	defer func() { _ = group.Close() }()
	u, err := user.GetExecUser(p.User, &user.ExecUser{Home: "/"},
		io.LimitReader(passwd, maxAccounts), io.LimitReader(group, maxAccounts))
	if err != nil {
		return nil, proto.Errorf(proto.Invalid, "user %q: %w", p.User, err)
	}
	if len(p.Groups) == 0 {
		return u, nil
	}
	again := accounts("/etc/group")
	defer func() { _ = again.Close() }()
	more, err := user.GetAdditionalGroups(p.Groups, io.LimitReader(again, maxAccounts))
	if err != nil {
		return nil, proto.Errorf(proto.Invalid, "groups %q: %w", p.Groups, err)
	}
	u.Sgids = append(u.Sgids, more...)
	return u, nil
}

// accounts opens a file that an image need not have.
func accounts(path string) io.ReadCloser {
	// A FIFO or a device in its place would never end.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return io.NopCloser(strings.NewReader(""))
	}
	return os.NewFile(uintptr(fd), path)
}

// setUser becomes the user.
func setUser(u *user.ExecUser) error {
	// The streams are the process's own, also by name (/dev/stdout).
	for fd := range 3 {
		_ = unix.Fchown(fd, u.Uid, -1) // /dev/null stays root's on a read-only root
	}
	if err := unix.Setgroups(u.Sgids); err != nil {
		return fmt.Errorf("set groups %v: %w", u.Sgids, err)
	}
	if err := unix.Setresgid(u.Gid, u.Gid, u.Gid); err != nil {
		return fmt.Errorf("set group %d: %w", u.Gid, err)
	}
	if err := unix.Setresuid(u.Uid, u.Uid, u.Uid); err != nil {
		return fmt.Errorf("set user %d: %w", u.Uid, err)
	}
	return nil
}
