package launch

import (
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
		return m.failed(err)
	}
	return nil
}

func (m Mount) failed(err error) error {
	return fmt.Errorf("mount %s %s on %s: %w", m.FSType, m.Source, m.Target, err)
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
	root, tty := outside(c.Users, 0), outside(c.Groups, ttyGroup)
	m := []Mount{
		{"proc", "/proc", "proc", plain, ""},
		{"sysfs", "/sys", "sysfs", plain | readOnly, ""},
		{"cgroup", "/sys/fs/cgroup", "cgroup2", plain | readOnly, ""},
		{"tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, fmt.Sprintf("mode=0755,size=64k,uid=%d", root)},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, fmt.Sprintf("newinstance,ptmxmode=0666,mode=0620,gid=%d", tty)},
		{"shm", "/dev/shm", "tmpfs", plain, fmt.Sprintf("mode=1777,size=%d,uid=%d", shm, root)},
	}
	if c.Own(proto.IPCNamespace) {
		m = append(m, Mount{"mqueue", "/dev/mqueue", "mqueue", plain, ""})
	}
	return m
}

// ttyGroup is the group of terminals in every distribution.
const ttyGroup = 5

// outside is the machine's number of a container's user or group.
func outside(maps []proto.IDMap, inside uint32) uint32 {
	for _, m := range maps {
		if inside >= m.Inside && inside-m.Inside < m.Size {
			return m.Outside + inside - m.Inside
		}
	}
	return inside
}

// inner says whether only the child can mount: what shows namespaces that the
// thread is not in.
func inner(c proto.Container, m Mount) bool {
	switch m.FSType {
	case "proc":
		return true
	case "cgroup2":
		return c.Own(proto.CgroupNamespace)
	case "sysfs", "mqueue":
		return c.Own(proto.UserNamespace)
	}
	return false
}

// mountKernels mounts what the thread can, and makes the mount points of the rest.
func mountKernels(c proto.Container) error {
	for _, m := range kernelMounts(c) {
		// In a user namespace those of its own need others that are there and seen
		// (mount_too_revealing in the kernel's fs/namespace.c).
		under := c.Own(proto.UserNamespace) && (m.FSType == "proc" || m.FSType == "sysfs")
		if err := os.MkdirAll(m.Target, 0o755); err != nil {
			return err
		}
		if inner(c, m) && !under {
			continue
		}
		if err := m.Do(); err != nil {
			return err
		}
	}
	return nil
}

// innerMounts has the child mount the rest, set the kernel's parameters, hide what
// is to be hidden, and make the root read-only.
func (l *Launch) innerMounts() {
	c := l.order.Container
	for _, m := range kernelMounts(c) {
		if inner(c, m) {
			l.plan.mount(m)
		}
	}
	l.setSysctls(c.Sysctls)
	if !c.Unmasked {
		l.mask()
	}
	if c.Root.ReadOnly {
		l.plan.mount(Mount{"", "/", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""})
	}
}

// mount adds a mount to the plan.
func (p *plan) mount(m Mount) *call {
	return p.do(func(errno unix.Errno) error { return m.failed(errno) }, unix.SYS_MOUNT,
		p.text(m.Source), p.text(m.Target), p.text(m.FSType), m.Flags, p.text(m.Data))
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

// node is a device in a container's /dev.
type node struct {
	name string
	mode uint32
	dev  uint64
}

// findNodes lists a container's devices, while the machine's /dev is there:
// character devices of the kernel's fixed numbers
// (Documentation/admin-guide/devices.txt), and disks.
func findNodes(c proto.Container) ([]node, error) {
	const open = unix.S_IFCHR | 0o666
	nodes := []node{
		{"null", open, unix.Mkdev(1, 3)},
		{"zero", open, unix.Mkdev(1, 5)},
		{"full", open, unix.Mkdev(1, 7)},
		{"random", open, unix.Mkdev(1, 8)},
		{"urandom", open, unix.Mkdev(1, 9)},
		{"tty", open, unix.Mkdev(5, 0)},
	}
	for _, path := range c.Disks {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return nil, fmt.Errorf("find the disk %s: %w", path, err)
		}
		if filepath.Dir(path) != "/dev" || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return nil, proto.Errorf(proto.Invalid, "%s is no disk", path)
		}
		nodes = append(nodes, node{filepath.Base(path), unix.S_IFBLK | 0o660, st.Rdev})
	}
	return nodes, nil
}

// makeDevices fills /dev, which is a tmpfs of the container's.
func makeDevices(nodes []node) error {
	for _, n := range nodes {
		path := "/dev/" + n.name
		if err := unix.Mknod(path, n.mode, int(n.dev)); err != nil {
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

// mask hides what docker hides of /proc and /sys, and keeps from writing what it
// keeps from writing. What the kernel does not have needs nothing.
func (l *Launch) mask() {
	for _, path := range []string{
		"/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/timer_list", "/proc/timer_stats",
	} {
		l.plan.mount(Mount{"/dev/null", path, "", unix.MS_BIND, ""}).accept = unix.ENOENT
	}
	for _, path := range []string{"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/devices/virtual/powercap", "/sys/firmware"} {
		l.plan.mount(Mount{"tmpfs", path, "tmpfs", unix.MS_RDONLY, "size=0k"}).accept = unix.ENOENT
	}
	for _, path := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		bind := l.plan.mount(Mount{path, path, "", unix.MS_BIND | unix.MS_REC, ""})
		bind.accept, bind.skip = unix.ENOENT, 1
		l.plan.mount(Mount{"", path, "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | plain, ""})
	}
}

// setSysctls has the child set the kernel's parameters of the container's
// namespaces.
func (l *Launch) setSysctls(sysctls map[string]string) {
	for name, value := range sysctls {
		l.plan.writeFile(filepath.Join("/proc/sys", filepath.Clean("/"+strings.ReplaceAll(name, ".", "/"))), value,
			func(errno unix.Errno) error {
				return proto.Errorf(proto.Invalid, "set the kernel parameter %s to %q: %w", name, value, errno)
			})
	}
}

// writeFile has the child write to a file of the kernel's; a container that put a
// FIFO in its place is not waited for.
func (p *plan) writeFile(path, text string, failed func(unix.Errno) error) {
	p.do(failed, unix.SYS_OPEN, p.text(path), unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK).opens = true
	p.do(failed, unix.SYS_WRITE, 0, p.text(text), uintptr(len(text))).file = true
	p.do(failed, unix.SYS_CLOSE).file = true
}
