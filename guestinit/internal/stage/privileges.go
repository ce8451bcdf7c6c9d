package stage

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/seccomp"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// setPrivileges gives up what the process may not do. Of capabilities the
// bounding set is enough: an exec as root gives those in it, and one as anybody
// else gives none (capabilities(7)).
func setPrivileges(p proto.Process) error {
	names := p.Capabilities
	if names == nil {
		names = proto.DefaultCapabilities()
	}
	if !p.AllCapabilities {
		drop, err := allBut(names)
		if err != nil {
			return err
		}
		if err := capability.DropBound(drop...); err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
	}
	if p.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no-new-privs: %w", err)
		}
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
	return seccomp.Load(filter)
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

// setLimits sets what bounds the process itself. Limits come before the runtime
// starts another thread for anything below.
func setLimits(p proto.Process) error {
	limits := append([]proto.Rlimit{{Name: "nofile", Soft: softFiles, Hard: HardFiles}}, p.Rlimits...)
	for _, l := range limits {
		resource, ok := rlimits()[l.Name]
		if !ok {
			return proto.Errorf(proto.Invalid, "resource limit %q is not known: see setrlimit(2)", l.Name)
		}
		if err := unix.Prlimit(0, resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			return proto.Errorf(proto.Invalid, "set the resource limit %s to %d:%d: %w", l.Name, l.Soft, l.Hard, err)
		}
	}
	if p.OOMScoreAdj != 0 {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(p.OOMScoreAdj)), 0); err != nil {
			return proto.Errorf(proto.Invalid, "set the OOM score adjustment to %d: %w", p.OOMScoreAdj, err)
		}
	}
	if p.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, p.Nice); err != nil {
			return proto.Errorf(proto.Invalid, "set the nice value to %d: %w", p.Nice, err)
		}
	}
	return nil
}

// own says whether the container has a namespace of that kind for itself.
func own(c proto.Container, kind proto.Namespace) bool {
	kinds := c.Namespaces
	if kinds == nil {
		kinds = proto.DefaultNamespaces()
	}
	return slices.Contains(kinds, kind)
}
