package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Where PID 1 puts things; the container sees only what is below rootDir.
const (
	runDir   = "/run"
	imageDir = runDir + "/image" // the read-only image disk
	layerDir = runDir + "/layer" // the writable layer: a disk or a tmpfs
	rootDir  = runDir + "/root"  // overlayfs of both: the container's root
)

// mountRoot makes the container's root file system at rootDir.
func mountRoot(r proto.Root) error {
	if r.ImageFS != "erofs" && r.ImageFS != "ext4" {
		return fmt.Errorf("image disk with file system %q: erofs or ext4 is needed", r.ImageFS)
	}
	layer := mount{"layer", layerDir, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"}
	if r.Layer != "" && !r.ReadOnly {
		layer = mount{r.Layer, layerDir, "ext4", unix.MS_NOATIME, layerOptions(r)}
	}
	upper, work := layerDir+"/upper", layerDir+"/work"
	if err := mountAll([]mount{{r.Image, imageDir, r.ImageFS, unix.MS_RDONLY, ""}, layer}); err != nil {
		return err
	}
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := copyMode(imageDir, upper); err != nil {
		return err
	}
	return mountAll([]mount{{
		"overlay", rootDir, "overlay", 0,
		"lowerdir=" + imageDir + ",upperdir=" + upper + ",workdir=" + work,
	}})
}

// layerOptions keeps ext4 from filling a sparse file with the zeros of inode
// tables, and spares a layer that is thrown away afterwards the journal's
// ordering and barriers.
func layerOptions(r proto.Root) string {
	if r.Discard {
		return "noinit_itable,data=writeback,barrier=0"
	}
	return "noinit_itable"
}

// copyMode gives the upper folder the mode and owner of the image's root, which
// overlayfs takes from the upper one.
func copyMode(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return fmt.Errorf("stat %s: %w", from, err)
	}
	if err := unix.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("chown %s: %w", to, err)
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod %s: %w", to, err)
	}
	return nil
}

// unmountRoot leaves the writable layer clean on its disk. What holds on to a
// mount after the container's end is gone with the machine: its data is synced.
func unmountRoot(r proto.Root) error {
	if r.Discard || r.ReadOnly || r.Layer == "" {
		return nil
	}
	if err := errors.Join(unix.Unmount(rootDir, 0), unix.Unmount(layerDir, 0)); err == nil {
		return nil
	}
	f, err := os.Open(layerDir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("write the container's layer to its disk: %w", err)
	}
	return nil
}

// kernelMounts are the file systems that a container's process expects, inside
// its root, as docker lays them. They are made by its first stage, in its mount
// and PID namespaces.
func kernelMounts() []mount {
	const (
		plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		dev   = unix.MS_NOSUID | unix.MS_NOEXEC
	)
	return []mount{
		{"proc", "/proc", "proc", plain, ""},
		{"sysfs", "/sys", "sysfs", plain | unix.MS_RDONLY, ""},
		{"cgroup", "/sys/fs/cgroup", "cgroup2", plain | unix.MS_RDONLY, ""},
		{"tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=0755,size=64k"},
		{"devpts", "/dev/pts", "devpts", dev, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"shm", "/dev/shm", "tmpfs", plain, "mode=1777,size=64m"},
		{"mqueue", "/dev/mqueue", "mqueue", plain, ""},
	}
}

// tmpfsMounts are the user's, outer folders first.
func tmpfsMounts(options map[string]string) []mount {
	var m []mount
	for path, data := range options {
		m = append(m, mount{"tmpfs", filepath.Join("/", path), "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, data})
	}
	slices.SortFunc(m, func(a, b mount) int { return len(a.target) - len(b.target) })
	return m
}

// devices are the nodes of a container's /dev, by name: character devices of the
// kernel's fixed numbers (Documentation/admin-guide/devices.txt).
func devices() map[string]uint64 {
	return map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7),
		"random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0),
	}
}

// makeDevices fills /dev, which is a tmpfs of the container's.
func makeDevices() error {
	for name, dev := range devices() {
		path := "/dev/" + name
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(dev)); err != nil {
			return fmt.Errorf("mknod %s: %w", path, err)
		}
	}
	for link, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd",
		"stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, "/dev/"+link); err != nil {
			return err
		}
	}
	return nil
}

// writeEtc makes the files that name resolution begins with, as docker does: the
// container's name is its own, whatever the image says.
func writeEtc(hostname string) error {
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"hostname": hostname + "\n",
		"hosts":    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t" + hostname + "\n",
	} {
		path := "/etc/" + name
		// A link of the image's may point anywhere: it is replaced, not followed.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
