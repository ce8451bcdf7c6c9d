package launch

import (
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/seccomp"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// privileges has the child give up what the process may not do. Of capabilities
// the bounding set is enough: an exec as root gives those in it, and one as anybody
// else gives none (capabilities(7)).
func (l *Launch) privileges() error {
	p := l.order.Process
	names := p.Capabilities
	if names == nil {
		names = proto.DefaultCapabilities()
	}
	if !p.AllCapabilities {
		drop, err := allBut(names)
		if err != nil {
			return err
		}
		for _, c := range drop {
			// The kernel may be older than the list.
			l.plan.do(because("drop capabilities"), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c)).accept = unix.EINVAL
		}
	}
	if p.NoNewPrivs {
		l.plan.do(because("no-new-privs"), unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	if p.Unconfined {
		return nil
	}
	if p.AllCapabilities {
		names = allNames()
	}
	filter, err := seccomp.Filter(names)
	if err != nil {
		return err
	}
	l.plan.do(because("set the seccomp filter"), unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER,
		address(&l.plan, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}))
	return nil
}

// allBut are the capabilities that are not in names.
func allBut(names []string) ([]capability.Cap, error) {
	keep := map[string]bool{}
	for _, name := range names {
		keep[name] = true
	}
	var drop []capability.Cap
	for _, c := range capability.ListKnown() {
		name := nameOf(c)
		if !keep[name] {
			drop = append(drop, c)
		}
		delete(keep, name)
	}
	for name := range keep {
		return nil, proto.Errorf(proto.Invalid, "capability %q is not known: see capabilities(7)", name)
	}
	return drop, nil
}

func nameOf(c capability.Cap) string { return "CAP_" + strings.ToUpper(c.String()) }

func allNames() []string {
	var names []string
	for _, c := range capability.ListKnown() {
		names = append(names, nameOf(c))
	}
	return names
}

// rlimits are the resources of setrlimit(2) by name.
func rlimits() map[string]int {
	return map[string]int{
		"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
		"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
		"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
		"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}
}

// Open files that a process may have if nothing else is said, as systemd gives
// them and docker passes on: the kernel's own bound of 4096 is too low for servers.
// PID 1 raises the bound for all, since in a user namespace nobody can.
const (
	softFiles = 1024
	HardFiles = 524288
)

// limits has the child set what bounds the process itself.
func (l *Launch) limits() error {
	p := l.order.Process
	limits := append([]proto.Rlimit{{Name: "nofile", Soft: softFiles, Hard: HardFiles}}, p.Rlimits...)
	for _, r := range limits {
		resource, ok := rlimits()[r.Name]
		if !ok {
			return proto.Errorf(proto.Invalid, "resource limit %q is not known: see setrlimit(2)", r.Name)
		}
		failed := func(errno unix.Errno) error {
			return proto.Errorf(proto.Invalid, "set the resource limit %s to %d:%d: %w", r.Name, r.Soft, r.Hard, errno)
		}
		l.plan.do(failed, unix.SYS_PRLIMIT64, 0, uintptr(resource), address(&l.plan, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}))
	}
	if p.OOMScoreAdj != 0 {
		l.plan.writeFile("/proc/self/oom_score_adj", strconv.Itoa(p.OOMScoreAdj), func(errno unix.Errno) error {
			return proto.Errorf(proto.Invalid, "set the OOM score adjustment to %d: %w", p.OOMScoreAdj, errno)
		})
	}
	if p.Nice != 0 {
		failed := func(errno unix.Errno) error {
			return proto.Errorf(proto.Invalid, "set the nice value to %d: %w", p.Nice, errno)
		}
		l.plan.do(failed, unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(p.Nice))
	}
	return nil
}
