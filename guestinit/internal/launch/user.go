package launch

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

// user has the child become the user. The streams are the process's own, also by
// name (/dev/stdout).
func (l *Launch) user(u *user.ExecUser) {
	for _, f := range l.order.Stdio {
		// /dev/null stays root's on a read-only root.
		_ = unix.Fchown(int(f.Fd()), int(outside(l.order.Container.Users, uint32(u.Uid))), -1)
	}
	groups := make([]uint32, len(u.Sgids)+1) // one more, so that there is an address
	for i, g := range u.Sgids {
		groups[i] = uint32(g)
	}
	uid, gid := uintptr(u.Uid), uintptr(u.Gid)
	l.plan.do(because(fmt.Sprintf("set groups %v", u.Sgids)), unix.SYS_SETGROUPS, uintptr(len(u.Sgids)), address(&l.plan, &groups[0]))
	l.plan.do(because(fmt.Sprintf("set group %d", u.Gid)), unix.SYS_SETRESGID, gid, gid, gid)
	l.plan.do(because(fmt.Sprintf("set user %d", u.Uid)), unix.SYS_SETRESUID, uid, uid, uid)
}
