package proto

import (
	"net/netip"
	"slices"
)

// Container is what processes run in: a root file system, namespaces and limits.
type Container struct {
	ID       string
	Hostname string
	Root     Root
	// Tmpfs are tmpfs mounts: path -> mount options as in tmpfs(5) ("size=64m").
	Tmpfs map[string]string `json:",omitempty"`
	// Disks are block devices of the machine's that it has in its /dev, under the
	// same name: "/dev/vdc".
	Disks []string `json:",omitempty"`
	// Mounts are further file systems, from disks, in the order they are mounted.
	Mounts []Mount `json:",omitempty"`
	// ShmSize is the size of /dev/shm in bytes; 0: 64 MiB, as docker has it.
	ShmSize int64  `json:",omitempty"`
	Limits  Limits `json:",omitzero"`
	// Namespaces are those of its own, besides mount; nil: DefaultNamespaces. It
	// shares the others with the machine.
	Namespaces []Namespace `json:",omitzero"`
	// Users and Groups map IDs in a user namespace of its own.
	Users  []IDMap `json:",omitempty"`
	Groups []IDMap `json:",omitempty"`
	// Unmasked leaves all of /proc and /sys to be seen and written.
	Unmasked bool `json:",omitempty"`
	// Sysctls are set in its namespaces: "net.ipv4.ip_forward" -> "1".
	Sysctls map[string]string `json:",omitempty"`
	// Addr is the address that /etc/hosts gives for Hostname; none: 127.0.0.1.
	Addr netip.Addr `json:",omitzero"`
	// Hosts are further lines of /etc/hosts.
	Hosts []Host `json:",omitempty"`
	// Resolver becomes /etc/resolv.conf; nil: the image's stays.
	Resolver *Resolver `json:",omitempty"`
}

// Root says which disks make the container's root.
type Root struct {
	// Image is the block device of the read-only image ("/dev/vda"), ImageFS its
	// file system ("erofs" or "ext4").
	Image, ImageFS string
	// Layer is the block device of the writable ext4 layer ("/dev/vdb"); empty:
	// the writable layer is a tmpfs.
	Layer string `json:",omitempty"`
	// Discard says that Layer is thrown away afterwards and need not be clean.
	Discard bool `json:",omitempty"`
	// ReadOnly mounts the root read-only (and leaves Layer unused).
	ReadOnly bool `json:",omitempty"`
}

// Mount is a file system that a container has beside its root.
type Mount struct {
	// Disk is its block device ("/dev/vde"), FS its kind ("erofs" or "ext4"). Several
	// mounts may be of one disk. ShareFS has none.
	Disk, FS string
	// Share is the name that the host serves it by, if FS is ShareFS, and File says that
	// it is a single file.
	Share string `json:",omitempty"`
	File  bool   `json:",omitempty"`
	// Folder is the folder of it that is mounted; empty: all of it.
	Folder string `json:",omitempty"`
	// Path is where in the container; folders that are missing are made.
	Path string
	// ReadOnly mounts it read-only. If all mounts of a disk are, so is the disk.
	ReadOnly bool `json:",omitempty"`
	// Copy fills Folder, if it is empty, with what the root has at Path.
	Copy bool `json:",omitempty"`
}

// ShareFS is the kind of a folder that the host serves on SharesPort.
const ShareFS = "9p"

// Own says whether the container has a namespace of that kind for itself.
func (c Container) Own(kind Namespace) bool {
	kinds := c.Namespaces
	if kinds == nil {
		kinds = DefaultNamespaces()
	}
	return slices.Contains(kinds, kind)
}

// Namespace is a kind of namespace, by its name in namespaces(7).
type Namespace string

// The kinds of namespaces.
const (
	PIDNamespace     Namespace = "pid"
	UTSNamespace     Namespace = "uts"
	IPCNamespace     Namespace = "ipc"
	NetworkNamespace Namespace = "network"
	UserNamespace    Namespace = "user"
	CgroupNamespace  Namespace = "cgroup"
	TimeNamespace    Namespace = "time"
)

// DefaultNamespaces are a container's own if it does not say; the network is the
// machine's, which is there for this container.
func DefaultNamespaces() []Namespace {
	return []Namespace{PIDNamespace, UTSNamespace, IPCNamespace, CgroupNamespace}
}

// IDMap maps Size IDs from Inside on, of a user namespace, to those from Outside
// on (user_namespaces(7)).
type IDMap struct {
	Inside, Outside, Size uint32
}

// Limits bound what a container may use. 0 leaves a limit as it is, which for a
// new container is unlimited; Unlimited takes it away.
type Limits struct {
	// CPUMicros is CPU time per second, in millionths of one CPU's.
	CPUMicros int64 `json:",omitempty"`
	// CPUWeight is its share of a busy CPU, 1 to 10000; a new container has 100.
	CPUWeight int64 `json:",omitempty"`
	// CPUSet are the CPUs it may run on ("0-1,3"); "": as it is.
	CPUSet string `json:",omitempty"`
	// Memory and Swap are in bytes.
	Memory int64 `json:",omitempty"`
	Swap   int64 `json:",omitempty"`
	// PIDs is how many processes and threads there may be at once.
	PIDs int64     `json:",omitempty"`
	IO   []IOLimit `json:",omitempty"`
}

// Unlimited is no limit.
const Unlimited = -1

// IOLimit bounds the use of one block device, per second.
type IOLimit struct {
	Device                string // "/dev/vdb"
	ReadBytes, WriteBytes int64  `json:",omitempty"`
	ReadOps, WriteOps     int64  `json:",omitempty"`
}

// Usage is what a container uses.
type Usage struct {
	// CPU time since it was created, in microseconds.
	CPUMicros, UserMicros, SystemMicros int64
	// Throttled is how long CPUMicros of its limits held it back.
	ThrottledMicros int64
	// Memory in bytes, now and at most; File is the part that is cached files.
	Memory, MemoryPeak, MemoryFile int64
	// MemoryLimit is 0 if there is none.
	MemoryLimit int64
	// PIDs are processes and threads.
	PIDs     int64
	OOMKills int64
	IO       []IOUsage `json:",omitempty"`
}

// IOUsage is what a container read from and wrote to a block device.
type IOUsage struct {
	Device                string // "/dev/vdb"
	ReadBytes, WriteBytes int64
	ReadOps, WriteOps     int64
}
