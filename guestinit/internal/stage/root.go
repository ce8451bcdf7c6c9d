package stage

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// enterRoot makes the container's root the root of this mount namespace, with
// everything mounted in it.
func enterRoot(o Order) error {
	c := o.Container
	if own(c, proto.UTSNamespace) {
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			return fmt.Errorf("set the hostname %q: %w", c.Hostname, err)
		}
	}
	given, err := openDevices(c)
	if err != nil {
		return err
	}
	if err := changeRoot(o.Root, own(c, proto.UserNamespace)); err != nil {
		return err
	}
	if err := MountAll(kernelMounts(c)); err != nil {
		return err
	}
	if err := makeDevices(given); err != nil {
		return err
	}
	if err := writeEtc(c); err != nil {
		return err
	}
	if err := setSysctls(c.Sysctls); err != nil {
		return err
	}
	if err := MountAll(tmpfsMounts(c.Tmpfs)); err != nil {
		return err
	}
	if !c.Unmasked {
		if err := mask(); err != nil {
			return err
		}
	}
	if c.Root.ReadOnly {
		return Mount{"", "/", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""}.Do()
	}
	return nil
}

// changeRoot moves the mount at root over "/". pivot_root does not work from the
// initramfs: this does (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
// What it covers can be come back to from a chroot, so that nothing is left there
// but the initramfs: other containers' roots and the disks go.
func changeRoot(root string, userNamespace bool) error {
	if userNamespace {
		// Mounts of the parent namespace's are locked in a lesser one's, but for
		// a copy; they stay, below.
		if err := (Mount{root, root, "", unix.MS_BIND, ""}).Do(); err != nil {
			return err
		}
	}
	if !userNamespace {
		// The machine's are there only once somebody has asked for them.
		_, _ = unix.Unmount("/proc", unix.MNT_DETACH), unix.Unmount("/sys", unix.MNT_DETACH)
	}
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
	if !userNamespace {
		if err := unix.Fchdir(int(hidden.Fd())); err != nil {
			return fmt.Errorf("leave the machine's mounts: %w", err)
		}
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the machine's mounts: %w", err)
		}
	}
	return unix.Chdir("/")
}
