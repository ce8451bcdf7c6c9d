package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/sys/capability"
	"github.com/spf13/pflag"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
)

// processFlags are run's and create's that say what the processes may do, as they
// were given.
type processFlags struct {
	init                                   bool
	ulimits, capAdd, capDrop, securityOpts []string
	groups, sysctls                        []string

	shmSize     string
	pidsLimit   int64
	oomScoreAdj int
}

func (f *processFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&f.init, "init", false, "run the process below an init that passes signals on and reaps orphans")
	fs.StringArrayVar(&f.ulimits, "ulimit", nil, "set a resource `LIMIT`: NAME=SOFT[:HARD], as nofile=1024:4096")
	fs.StringSliceVar(&f.capAdd, "cap-add", nil, "give it a `CAPABILITY`, or ALL")
	fs.StringSliceVar(&f.capDrop, "cap-drop", nil, "take a `CAPABILITY`, or ALL, from it")
	fs.StringArrayVar(&f.securityOpts, "security-opt", nil, "`OPTION`: no-new-privileges, seccomp=unconfined or systempaths=unconfined")
	fs.StringArrayVar(&f.groups, "group-add", nil, "a further `GROUP` of the user, by name or number")
	fs.StringArrayVar(&f.sysctls, "sysctl", nil, "set a `PARAMETER` of the container's kernel: NAME=VALUE, as net.ipv4.ip_forward=1")
	fs.StringVar(&f.shmSize, "shm-size", "", "`SIZE` of /dev/shm (default 64m)")
	fs.Int64Var(&f.pidsLimit, "pids-limit", 0, "`NUMBER` of processes and threads it may have at once; -1 is unlimited")
	fs.IntVar(&f.oomScoreAdj, "oom-score-adj", 0, "`NUMBER` from -1000 to 1000: how ready the kernel is to kill it for want of memory")
}

// parse checks the flags and adds them to a container, whose process is known.
func (f *processFlags) parse(o *container.Options) error {
	p := &o.Process
	p.Init, p.Groups = f.init, f.groups
	var err error
	if o.ShmSize, err = parseShm(f.shmSize); err != nil {
		return fmt.Errorf("--shm-size: %w", err)
	}
	if o.Sysctls, err = parseSysctls(f.sysctls); err != nil {
		return fmt.Errorf("--sysctl: %w", err)
	}
	if p.Rlimits, err = parseUlimits(f.ulimits); err != nil {
		return fmt.Errorf("--ulimit: %w", err)
	}
	if err := f.setCapabilities(p); err != nil {
		return err
	}
	for _, opt := range f.securityOpts {
		if err := setSecurity(o, opt); err != nil {
			return fmt.Errorf("--security-opt: %w", err)
		}
	}
	if err := checkPIDs(f.pidsLimit); err != nil {
		return err
	}
	o.PIDs = max(0, f.pidsLimit)
	if f.oomScoreAdj < -1000 || f.oomScoreAdj > 1000 {
		return fmt.Errorf("--oom-score-adj: %d is not from -1000 to 1000", f.oomScoreAdj)
	}
	p.OOMScoreAdj = f.oomScoreAdj
	return nil
}

// parseShm reads a size of /dev/shm; 0 for "".
func parseShm(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return parseRAM(s, "64m or 1g")
}

// parseSysctls reads NAME=VALUE each; of several for a name the last counts.
func parseSysctls(sysctls []string) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range sysctls {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("bad parameter %q: want NAME=VALUE", s)
		}
		all[name] = value
	}
	return all, nil
}

// maxPIDs is the most that Linux counts to (PID_MAX_LIMIT).
const maxPIDs = 1 << 22

// checkPIDs checks a --pids-limit.
func checkPIDs(n int64) error {
	if n < proto.Unlimited || n > maxPIDs {
		return fmt.Errorf("--pids-limit: %d is no number of processes: want one up to %d, or -1 for no limit", n, maxPIDs)
	}
	return nil
}

// parseUlimits reads docker's NAME=SOFT[:HARD]; of several for a name the last
// counts.
func parseUlimits(limits []string) ([]proto.Rlimit, error) {
	var list []proto.Rlimit
	for _, s := range limits {
		u, err := units.ParseUlimit(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		// -1 is all ones, which is RlimitInfinity.
		l := proto.Rlimit{Name: u.Name, Soft: uint64(u.Soft), Hard: uint64(u.Hard)}
		list = slices.DeleteFunc(list, func(other proto.Rlimit) bool { return other.Name == l.Name })
		list = append(list, l)
	}
	return list, nil
}

// allCapabilities is docker's word for every one of them.
const allCapabilities = "ALL"

// setCapabilities is docker's rule: of ALL that are added those that are dropped
// are missing; where ALL are dropped, those that are added are left; otherwise it
// is the default ones without the dropped and with the added.
func (f *processFlags) setCapabilities(p *proto.Process) error {
	if len(f.capAdd)+len(f.capDrop) == 0 {
		return nil
	}
	add, err := parseCapabilities(f.capAdd)
	if err != nil {
		return fmt.Errorf("--cap-add: %w", err)
	}
	drop, err := parseCapabilities(f.capDrop)
	if err != nil {
		return fmt.Errorf("--cap-drop: %w", err)
	}
	every := slices.Contains(add, allCapabilities)
	names := proto.DefaultCapabilities()
	switch {
	case every:
		names = knownCapabilities()
		add = nil
	case slices.Contains(drop, allCapabilities):
		names = []string{} // not nil, which means the default ones
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(drop, name) })
	names = append(names, add...)
	slices.Sort(names)
	p.Capabilities = slices.Compact(names)
	p.AllCapabilities = every && len(p.Capabilities) == len(knownCapabilities())
	return nil
}

// parseCapabilities reads names as docker does: "net_admin", "CAP_NET_ADMIN", ALL.
func parseCapabilities(names []string) ([]string, error) {
	known := knownCapabilities()
	var list []string
	for _, s := range names {
		name := strings.ToUpper(s)
		if name != allCapabilities && !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if name != allCapabilities && !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no capability %q: see capabilities(7)", s)
		}
		list = append(list, name)
	}
	return list, nil
}

func knownCapabilities() []string {
	var names []string
	for _, c := range capability.ListKnown() {
		names = append(names, "CAP_"+strings.ToUpper(c.String()))
	}
	return names
}

// setSecurity does one of docker's security options: NAME, NAME=VALUE or
// NAME:VALUE.
func setSecurity(o *container.Options, opt string) error {
	name, value := opt, ""
	if i := strings.IndexAny(opt, "=:"); i >= 0 {
		name, value = opt[:i], opt[i+1:]
	}
	switch {
	case name == "no-new-privileges" && (value == "" || value == "true"):
		o.Process.NoNewPrivs = true
	case name == "no-new-privileges" && value == "false":
		o.Process.NoNewPrivs = false
	case name == "seccomp" && value == "unconfined":
		o.Process.Unconfined = true
	case name == "seccomp":
		return fmt.Errorf("%s: there are docker's default profile, which is in force without this option, and unconfined", opt)
	case name == "systempaths" && value == "unconfined":
		o.Unmasked = true
	case (name == "apparmor" || name == "label") && (value == "unconfined" || value == "disable"):
		// So it is: the guest's kernel has neither AppArmor nor SELinux.
	case name == "apparmor" || name == "label":
		return errors.New("the guest's kernel has neither AppArmor nor SELinux: the microVM is the wall")
	default:
		return fmt.Errorf("bad option %q: want no-new-privileges, seccomp=unconfined or systempaths=unconfined", opt)
	}
	return nil
}
