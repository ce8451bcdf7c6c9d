package seccomp

import "golang.org/x/sys/unix"

// refused are the rules by number; what is not here is allowed.
func refused() map[int]program {
	perm := program{op(ret, refuse|uint32(unix.EPERM))}
	rules := map[int]program{
		// clone may not make namespaces; what clone3 does cannot be seen, and
		// ENOSYS makes the C library fall back to clone.
		unix.SYS_CLONE: {
			op(load, offsetArg0), jump(ifBits, namespaceFlags, 0, 1),
			op(ret, refuse|uint32(unix.EPERM)), op(ret, allow),
		},
		unix.SYS_CLONE3: {op(ret, refuse|uint32(unix.ENOSYS))},
		// The way to the host is for PID 1 alone.
		unix.SYS_SOCKET: {
			op(load, offsetArg0), jump(ifEqual, unix.AF_VSOCK, 0, 1),
			op(ret, refuse|uint32(unix.EPERM)), op(ret, allow),
		},
		// Linux, UNAME26 and no randomization, and the question which it is.
		unix.SYS_PERSONALITY: {
			op(load, offsetArg0),
			jump(ifEqual, 0x0, 5, 0), jump(ifEqual, 0x8, 4, 0), jump(ifEqual, 0x20000, 3, 0),
			jump(ifEqual, 0x20008, 2, 0), jump(ifEqual, 0xffffffff, 1, 0),
			op(ret, refuse|uint32(unix.EPERM)), op(ret, allow),
		},
	}
	for _, nr := range []int{
		unix.SYS_ADD_KEY, unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_IO_URING_ENTER,
		unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD,
		unix.SYS_KEYCTL, unix.SYS_MOVE_PAGES, unix.SYS_NFSSERVCTL, unix.SYS_PIVOT_ROOT, unix.SYS_QUERY_MODULE,
		unix.SYS_REQUEST_KEY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSFS, unix.SYS__SYSCTL,
		unix.SYS_USELIB, unix.SYS_USERFAULTFD, unix.SYS_USTAT,
	} {
		rules[nr] = perm
	}
	for _, c := range []string{
		"CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE",
		"CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYS_NICE", "CAP_SYSLOG", "CAP_BPF",
		"CAP_PERFMON", "CAP_DAC_READ_SEARCH",
	} {
		for _, nr := range allowedBy(c) {
			if rules[nr] == nil {
				rules[nr] = perm
			}
		}
	}
	return rules
}

// allowedBy are the numbers that a capability allows.
func allowedBy(capability string) []int {
	switch capability {
	case "CAP_SYS_ADMIN":
		return []int{
			unix.SYS_BPF, unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_FANOTIFY_INIT, unix.SYS_FSCONFIG,
			unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MOUNT,
			unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN,
			unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME,
			unix.SYS_SETNS, unix.SYS_SYSLOG, unix.SYS_UMOUNT2, unix.SYS_UNSHARE,
		}
	case "CAP_SYS_BOOT":
		return []int{unix.SYS_REBOOT}
	case "CAP_SYS_CHROOT":
		return []int{unix.SYS_CHROOT}
	case "CAP_SYS_MODULE":
		return []int{unix.SYS_DELETE_MODULE, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE}
	case "CAP_SYS_PACCT":
		return []int{unix.SYS_ACCT}
	case "CAP_SYS_PTRACE":
		return []int{unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE}
	case "CAP_SYS_RAWIO":
		return []int{unix.SYS_IOPL, unix.SYS_IOPERM}
	case "CAP_SYS_TIME":
		return []int{unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME}
	case "CAP_SYS_TTY_CONFIG":
		return []int{unix.SYS_VHANGUP}
	case "CAP_SYS_NICE":
		return []int{unix.SYS_GET_MEMPOLICY, unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY, unix.SYS_SET_MEMPOLICY_HOME_NODE}
	case "CAP_SYSLOG":
		return []int{unix.SYS_SYSLOG}
	case "CAP_BPF":
		return []int{unix.SYS_BPF}
	case "CAP_PERFMON":
		return []int{unix.SYS_PERF_EVENT_OPEN}
	case "CAP_DAC_READ_SEARCH":
		return []int{unix.SYS_OPEN_BY_HANDLE_AT}
	}
	return nil
}
