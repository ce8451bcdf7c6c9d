package main

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/vmm/kvm"
)

// program is one that has a filter: what its function is called, and what it may call.
type program struct {
	name, program string
	rules         rules
}

func programs() []program {
	return []program{{"VMM", "mvm-vmm", vmm()}, {"Network", "mvm-netd", network()}, {"Folders", "mvm-fsd", folders()}}
}

// vmm are the calls of package vmm, which makes a new VM at each restart; of package
// net, for Unix sockets; and for the container's log and what is written of its state.
func vmm() rules {
	var requests []uint32
	for _, r := range append(kvm.Requests(), unix.TUNSETOFFLOAD, unix.TUNSETIFF, unix.TUNSETVNETHDRSZ, unix.SIOCGIFINDEX) {
		requests = append(requests, uint32(r))
	}
	return rules{
		checks: []check{
			{unix.SYS_IOCTL, 1, bpf.JumpEqual, requests},
			{unix.SYS_SOCKET, 0, bpf.JumpEqual, []uint32{unix.AF_UNIX}},
			{unix.SYS_SOCKETPAIR, 0, bpf.JumpEqual, []uint32{unix.AF_UNIX}},
			{unix.SYS_SETSOCKOPT, 2, bpf.JumpEqual, []uint32{unix.SO_REUSEADDR}},
		},
		calls: []uint32{
			unix.SYS_ACCEPT4, unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_FALLOCATE, unix.SYS_FDATASYNC, unix.SYS_FLOCK,
			unix.SYS_FSYNC, unix.SYS_FTRUNCATE, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKNAME, unix.SYS_GETSOCKOPT,
			unix.SYS_LISTEN, unix.SYS_NEWFSTATAT, unix.SYS_OPENAT, unix.SYS_PPOLL, unix.SYS_PREADV,
			unix.SYS_PWRITE64, unix.SYS_PWRITEV, unix.SYS_READV, unix.SYS_RENAMEAT, unix.SYS_SENDFILE, unix.SYS_SENDMSG,
			unix.SYS_SHUTDOWN, unix.SYS_SPLICE, unix.SYS_UNAME, unix.SYS_UNLINKAT, unix.SYS_WRITEV,
		},
	}
}

// network are the calls of packages usernet and net, and to read what tells of names.
func network() rules {
	return rules{
		checks: []check{{unix.SYS_SOCKET, 0, bpf.JumpEqual, []uint32{unix.AF_INET, unix.AF_INET6}}},
		calls: []uint32{
			unix.SYS_ACCEPT4, unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_GETDENTS64, unix.SYS_GETPEERNAME,
			unix.SYS_GETSOCKNAME, unix.SYS_GETSOCKOPT, unix.SYS_LISTEN, unix.SYS_NEWFSTATAT, unix.SYS_OPENAT,
			unix.SYS_READLINKAT, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_SENDTO,
			unix.SYS_SETSOCKOPT, unix.SYS_SHUTDOWN, unix.SYS_WRITEV,
		},
	}
}

// folders are the calls of packages ninep, and net for the guest's connections, of
// which the socket is there.
func folders() rules {
	return rules{calls: []uint32{
		unix.SYS_ACCEPT4, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_FDATASYNC, unix.SYS_FSTATFS,
		unix.SYS_FSYNC, unix.SYS_FTRUNCATE, unix.SYS_GETDENTS64, unix.SYS_GETSOCKNAME, unix.SYS_GETXATTR, unix.SYS_LINKAT,
		unix.SYS_LISTXATTR, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_NEWFSTATAT, unix.SYS_OPENAT, unix.SYS_OPENAT2,
		unix.SYS_PWRITE64, unix.SYS_READLINKAT, unix.SYS_REMOVEXATTR, unix.SYS_RENAMEAT,
		unix.SYS_RENAMEAT2, unix.SYS_SETXATTR, unix.SYS_SYMLINKAT, unix.SYS_TRUNCATE, unix.SYS_UNLINKAT,
		unix.SYS_UTIMENSAT, unix.SYS_WRITEV,
	}}
}
