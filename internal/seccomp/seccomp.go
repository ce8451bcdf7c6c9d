// Package seccomp leaves the processes that serve a guest the system calls that they
// need (seccomp(2)). A guest that has taken one over finds no more of the host's
// kernel to attack, and can start no other program.
package seccomp

import (
	"fmt"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// Rules are what a program calls, besides what every Go program does.
type Rules struct {
	Calls []string
	// Sockets are the families (AF_INET) of the sockets that it makes.
	Sockets []uint64
}

// Apply leaves this process, in all its threads, what the rules and the Go runtime
// name, as far as the host's kernel has filters. Anything else fails with EPERM, and
// does not end the process: a Go that has come to use a newer call is no attack. The
// process has given up new privileges before (PR_SET_NO_NEW_PRIVS).
func (r Rules) Apply() error {
	if !seccomp.Supported() {
		return nil
	}
	f := seccomp.Filter{Flag: seccomp.FilterFlagTSync, Policy: r.policy()}
	if err := seccomp.LoadFilter(f); err != nil {
		return fmt.Errorf("give up system calls: %w", err)
	}
	return nil
}

func (r Rules) policy() seccomp.Policy {
	allowed := seccomp.SyscallGroup{
		Action:             seccomp.ActionAllow,
		Names:              append(runtimeCalls(), r.Calls...),
		NamesWithCondtions: runtimeConditions(),
	}
	for _, family := range r.Sockets {
		allowed.NamesWithCondtions = append(allowed.NamesWithCondtions, when("socket", 0, seccomp.Equal, family))
	}
	// What clone3 does cannot be seen; without it the C library takes clone.
	missing := seccomp.SyscallGroup{Action: seccomp.ActionErrno&^0xffff | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}}
	return seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{allowed, missing}}
}

// runtimeCalls are what the Go runtime and package os call, for memory, threads,
// signals, time, and files that are open; and the C library, of programs that have
// it, for threads.
func runtimeCalls() []string {
	return []string{
		"clock_gettime", "clock_nanosleep", "close", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "exit",
		"exit_group", "fcntl", "fstat", "futex", "getpid", "getrandom", "getrlimit", "gettid", "lseek", "madvise", "mincore", "munmap",
		"nanosleep", "pipe2", "prlimit64", "read", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
		"sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack", "tgkill", "write",
	}
}

// runtimeConditions are those of its calls that can do more than it asks for: new
// threads, but no processes, and memory that holds no program.
func runtimeConditions() []seccomp.NameWithConditions {
	return []seccomp.NameWithConditions{
		when("clone", 0, seccomp.BitsSet, unix.CLONE_THREAD),
		when("mmap", 2, seccomp.BitsNotSet, unix.PROT_EXEC),
		when("mprotect", 2, seccomp.BitsNotSet, unix.PROT_EXEC),
	}
}

// when allows a call whose argument of that number is so.
func when(name string, argument uint32, is seccomp.Operation, value uint64) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{
		Name: name, Conditions: seccomp.ArgumentConditions{{Argument: argument, Operation: is, Value: value}},
	}
}
