package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// enterRoot makes the container's namespaces, as far as a thread can, and its root
// the root of this one, with everything mounted in it but what only the child can
// mount.
func (l *Launch) enterRoot() error {
	c := l.order.Container
	flags := unix.CLONE_FS | unix.CLONE_NEWNS
	if c.Own(proto.UserNamespace) {
		flags |= unix.CLONE_NEWUTS // whose hostname the child's begins with
	} else {
		flags |= flagsOf(c) &^ childFlags
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	unix.Umask(0) // for what is made here
	if c.Own(proto.UTSNamespace) {
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			return fmt.Errorf("set the hostname %q: %w", c.Hostname, err)
		}
	}
	nodes, err := findNodes(c)
	if err != nil {
		return err
	}
	if err := changeRoot(l.order.Root); err != nil {
		return err
	}
	if err := mountKernels(c); err != nil {
		return err
	}
	if err := makeDevices(nodes); err != nil {
		return err
	}
	if err := writeEtc(c); err != nil {
		return err
	}
	if err := MountAll(tmpfsMounts(c.Tmpfs)); err != nil {
		return err
	}
	return makeDir(l.order.Process.Cwd)
}

// changeRoot moves the mount at root over "/". pivot_root does not work from the
// initramfs: this does (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
// What it covers can be come back to from a chroot, so that nothing is left there
// but the initramfs: other containers' roots and the disks go.
func changeRoot(root string) error {
	// The machine's are there only once somebody has asked for them.
	_, _ = unix.Unmount("/proc", unix.MNT_DETACH), unix.Unmount("/sys", unix.MNT_DETACH)
	hidden, err := os.Open("/run")
	if err != nil {
		return err
	}
	defer func() { _ = hidden.Close() }()
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the container's root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change to the container's root: %w", err)
	}
	if err := unix.Fchdir(int(hidden.Fd())); err != nil {
		return fmt.Errorf("leave the machine's mounts: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the machine's mounts: %w", err)
	}
	return unix.Chdir("/")
}
