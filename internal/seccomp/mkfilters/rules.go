package main

import (
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// rules are what a program calls, besides what every Go program does.
type rules struct {
	calls  []uint32
	checks []check
}

// check allows a call if its argument of that number, counted from 0, passes the test
// with one of the values. The argument's low half is looked at: it is all that the
// kernel takes of those that the rules are about.
type check struct {
	call   uint32
	arg    uint32
	test   bpf.JumpTest
	values []uint32
}

// Offsets in struct seccomp_data (linux/seccomp.h), and the sizes of what is there.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
	wordSize   = 4
	argSize    = 8
)

// x32 is in the number of a call that is not of this machine's kind but is counted
// among them (__X32_SYSCALL_BIT).
const x32 = 0x4000_0000

// What a filter answers (linux/seccomp.h).
const (
	allow   = unix.SECCOMP_RET_ALLOW
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	missing = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// assemble makes a filter of what the rules and the Go runtime name. Anything else
// fails with EPERM. The calls that are checked come first: Linux remembers what is
// always allowed, and asks the filter about those each time.
func (r rules) assemble() []bpf.Instruction {
	filter := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: wordSize},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		bpf.RetConstant{Val: refuse},
		bpf.LoadAbsolute{Off: offsetCall, Size: wordSize},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: x32, SkipTrue: 1},
		bpf.RetConstant{Val: refuse},
	}
	for _, c := range slices.Concat(r.checks, runtimeChecks()) {
		filter = append(filter, c.assemble()...)
	}
	calls := slices.Concat(runtimeCalls(), r.calls)
	for i, call := range calls {
		filter = append(filter, bpf.JumpIf{Cond: bpf.JumpEqual, Val: call, SkipTrue: uint8(len(calls) - i + 2)})
	}
	// What clone3 does cannot be seen; without it the C library takes clone.
	return append(filter,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_CLONE3, SkipFalse: 1}, bpf.RetConstant{Val: missing},
		bpf.RetConstant{Val: refuse}, bpf.RetConstant{Val: allow})
}

// assemble decides about the call, for good: no number of a call is left to be looked
// at once an argument has been.
func (c check) assemble() []bpf.Instruction {
	n := len(c.values)
	code := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.call, SkipFalse: uint8(n + 3)},
		bpf.LoadAbsolute{Off: offsetArgs + c.arg*argSize, Size: wordSize},
	}
	for i, v := range c.values {
		code = append(code, bpf.JumpIf{Cond: c.test, Val: v, SkipTrue: uint8(n - i)})
	}
	return append(code, bpf.RetConstant{Val: refuse}, bpf.RetConstant{Val: allow})
}

// count says how many calls the rules allow.
func (r rules) count() string {
	checks := slices.Concat(r.checks, runtimeChecks())
	n := fmt.Sprintf("%d system calls", len(checks)+len(runtimeCalls())+len(r.calls))
	if checks[0].call == unix.SYS_IOCTL {
		n += fmt.Sprintf(", of them ioctl with %d requests", len(checks[0].values))
	}
	return n
}

// runtimeCalls are what the Go runtime and package os call, for memory, threads,
// signals, time, and files that are open; and the C library, of programs that have
// it, for threads.
func runtimeCalls() []uint32 {
	return []uint32{
		unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOSE, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL,
		unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_FCNTL, unix.SYS_FSTAT,
		unix.SYS_FUTEX, unix.SYS_GETPID, unix.SYS_GETRANDOM, unix.SYS_GETRLIMIT, unix.SYS_GETTID, unix.SYS_LSEEK,
		unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MUNMAP, unix.SYS_NANOSLEEP, unix.SYS_PIPE2, unix.SYS_PREAD64, unix.SYS_READ,
		unix.SYS_RESTART_SYSCALL, unix.SYS_RSEQ, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN,
		unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_YIELD, unix.SYS_SET_ROBUST_LIST, unix.SYS_SIGALTSTACK, unix.SYS_WRITE,
	}
}

// runtimeChecks are those of its calls that can do more than it asks for: new
// threads, but no processes; memory that holds no program; and to other processes
// nothing but the signal that wakes a thread, which by itself does nothing.
func runtimeChecks() []check {
	return []check{
		{unix.SYS_CLONE, 0, bpf.JumpBitsSet, []uint32{unix.CLONE_THREAD}},
		{unix.SYS_MMAP, 2, bpf.JumpBitsNotSet, []uint32{unix.PROT_EXEC}},
		{unix.SYS_MPROTECT, 2, bpf.JumpBitsNotSet, []uint32{unix.PROT_EXEC}},
		{unix.SYS_PRLIMIT64, 0, bpf.JumpEqual, []uint32{0}}, // itself
		{unix.SYS_TGKILL, 2, bpf.JumpEqual, []uint32{uint32(unix.SIGURG)}},
	}
}
