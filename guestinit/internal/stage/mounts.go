package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Mount is one call of mount(2).
type Mount struct {
	Source, Target, FSType string
	Flags                  uintptr
	Data                   string
}

// Do mounts.
func (m Mount) Do() error {
	if err := unix.Mount(m.Source, m.Target, m.FSType, m.Flags, m.Data); err != nil {
		return fmt.Errorf("mount %s %s on %s: %w", m.FSType, m.Source, m.Target, err)
	}
	return nil
}

// MountAll makes each mount point and mounts on it.
func MountAll(mounts []Mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.Target, 0o755); err != nil {
			return err
		}
		if err := m.Do(); err != nil {
			return err
		}
	}
	return nil
}

const (
	plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	// defaultShm is the size of /dev/shm, as docker has it.
	defaultShm = 64 << 20
)

// kernelMounts are the file systems that a container's process expects, as docker
// lays them.
func kernelMounts(c proto.Container) []Mount {
	shm := c.ShmSize
	if shm == 0 {
		shm = defaultShm
	}
	readOnly := uintptr(unix.MS_RDONLY)
	if c.Unmasked {
		readOnly = 0
	}
	m := []Mount{
		{"proc", "/proc", "proc", plain, ""},
		{"sysfs", "/sys", "sysfs", plain | readOnly, ""},
		{"cgroup", "/sys/fs/cgroup", "cgroup2", plain | readOnly, ""},
		{"tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=0755,size=64k"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"shm", "/dev/shm", "tmpfs", plain, fmt.Sprintf("mode=1777,size=%d", shm)},
	}
	if own(c, proto.IPCNamespace) {
		m = append(m, Mount{"mqueue", "/dev/mqueue", "mqueue", plain, ""})
	}
	return m
}

// tmpfsMounts are the user's, outer folders first.
func tmpfsMounts(options map[string]string) []Mount {
	var m []Mount
	for path, data := range options {
		m = append(m, Mount{"tmpfs", filepath.Join("/", path), "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, data})
	}
	slices.SortFunc(m, func(a, b Mount) int { return len(a.Target) - len(b.Target) })
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

// openDevices opens PID 1's nodes, for a container that cannot make its own: one
// in a user namespace.
func openDevices(c proto.Container) (map[string]*os.File, error) {
	files := map[string]*os.File{}
	if !own(c, proto.UserNamespace) {
		return nil, nil
	}
	for name := range devices() {
		fd, err := unix.Open("/dev/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open /dev/%s: %w", name, err)
		}
		files[name] = os.NewFile(uintptr(fd), name)
	}
	return files, nil
}

// makeDevices fills /dev, which is a tmpfs of the container's.
func makeDevices(given map[string]*os.File) error {
	for name, dev := range devices() {
		path := "/dev/" + name
		mode, source := uint32(unix.S_IFCHR), given[name]
		if source != nil {
			mode = unix.S_IFREG
		}
		if err := unix.Mknod(path, mode|0o666, int(dev)); err != nil {
			return fmt.Errorf("mknod %s: %w", path, err)
		}
		if source == nil {
			continue
		}
		if err := (Mount{fmt.Sprintf("/proc/self/fd/%d", source.Fd()), path, "", unix.MS_BIND, ""}).Do(); err != nil {
			return err
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

// mask hides what docker hides of /proc and /sys, and keeps from writing what it
// keeps from writing. What the kernel does not have needs nothing.
func mask() error {
	for _, path := range []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	} {
		err := unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		if errors.Is(err, unix.ENOTDIR) { // it is a folder
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "size=0k")
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	for _, path := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|plain, "")
		}
		if err != nil {
			return fmt.Errorf("make %s read-only: %w", path, err)
		}
	}
	return nil
}

// setSysctls sets the kernel's parameters of the container's namespaces.
func setSysctls(sysctls map[string]string) error {
	for name, value := range sysctls {
		path := filepath.Join("/proc/sys", filepath.Clean("/"+strings.ReplaceAll(name, ".", "/")))
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return proto.Errorf(proto.Invalid, "set the kernel parameter %s to %q: %w", name, value, err)
		}
	}
	return nil
}
