// Package doctor looks at a host for what mvm needs of it.
package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/mvm-project/mvm/vmm/kvm"
)

// Report is what was found.
type Report struct {
	// OK says whether containers can run here.
	OK     bool
	Checks []Check
}

// Check is one thing that mvm needs, or can use.
type Check struct {
	Name  string
	Level Level
	Found string
	// Advice says what to do about it, unless Level is Good.
	Advice string `json:",omitempty"`
}

// Level says how good what was found is.
type Level string

// The levels of a check.
const (
	Good Level = "ok"
	Weak Level = "warning" // something does not work, but containers run
	Bad  Level = "missing" // no container runs
)

// Look looks at this host.
func Look() Report {
	sys := os.DirFS("/sys")
	r := Report{Checks: []Check{device()}}
	if r.Checks[0].Level == Good {
		r.Checks = append(r.Checks, flavour(KindOf(sys)), capabilities())
	}
	r.Checks = append(r.Checks, memory(os.DirFS("/proc")), mke2fs(), tun())
	r.OK = true
	for _, c := range r.Checks {
		r.OK = r.OK && c.Level != Bad
	}
	return r
}

func device() Check {
	c := Check{Name: kvm.Path, Level: Good, Found: "opens"}
	s, err := kvm.Open()
	if err != nil {
		c.Level, c.Found, c.Advice = Bad, "cannot be used", err.Error()
		return c
	}
	_ = s.Close()
	return c
}

// Kind is how a host's KVM runs guests.
type Kind string

// The kinds of KVM.
const (
	VMX     Kind = "VMX+EPT"
	SVM     Kind = "SVM+NPT"
	Shadow  Kind = "shadow paging"
	PVM     Kind = "kvm-pvm"
	Unknown Kind = "unknown"
)

// KindOf tells the kind of KVM from sysfs.
func KindOf(sys fs.FS) Kind {
	if _, err := fs.Stat(sys, "module/kvm_pvm"); err == nil {
		return PVM
	}
	for _, m := range []struct {
		parameter string
		kind      Kind
	}{{"module/kvm_intel/parameters/ept", VMX}, {"module/kvm_amd/parameters/npt", SVM}} {
		on, err := fs.ReadFile(sys, m.parameter)
		switch {
		case err != nil:
		case strings.ContainsAny(string(on), "Y1"):
			return m.kind
		default:
			return Shadow
		}
	}
	return Unknown
}

func flavour(k Kind) Check {
	c := Check{Name: "kind of KVM", Level: Good, Found: string(k)}
	switch k {
	case PVM:
		c.Level, c.Advice = Bad, "mvm's kernel needs VMX or SVM: use a host that has them, or ask for nested virtualisation in this one"
	case Shadow:
		c.Level, c.Advice = Weak, "guests are slow without EPT or NPT: switch them on in the firmware, or load kvm-intel with ept=1, kvm-amd with npt=1"
	case Unknown:
		c.Level, c.Advice = Weak, "neither kvm-intel nor kvm-amd is loaded: mvm was not tested on other kinds"
	case VMX, SVM:
	}
	return c
}

// capability is one of KVM's (include/uapi/linux/kvm.h) that vmm uses.
type capability struct {
	name   string
	number uintptr
}

func needed() []capability {
	return []capability{
		{"KVM_CAP_IRQCHIP", 0},
		{"KVM_CAP_USER_MEMORY", 3},
		{"KVM_CAP_SET_TSS_ADDR", 4},
		{"KVM_CAP_EXT_CPUID", 7},
		{"KVM_CAP_IRQFD", 32},
		{"KVM_CAP_IOEVENTFD", 36},
		{"KVM_CAP_SET_IDENTITY_MAP_ADDR", 37},
		{"KVM_CAP_IMMEDIATE_EXIT", 136},
	}
}

const capMaxVCPUs = 66 // KVM_CAP_MAX_VCPUS

func capabilities() Check {
	c := Check{Name: "KVM capabilities", Level: Good}
	missing, vcpus, err := probe()
	switch {
	case err != nil:
		c.Level, c.Found, c.Advice = Bad, "cannot be read", err.Error()
	case len(missing) > 0:
		c.Level, c.Found, c.Advice = Bad, "missing "+strings.Join(missing, ", "), "use Linux 4.13 or newer on the host"
	default:
		c.Found = fmt.Sprintf("all, up to %d vCPUs", vcpus)
	}
	return c
}

func probe() (missing []string, vcpus int, err error) {
	s, err := kvm.Open()
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, n := range needed() {
		v, err := s.Extension(n.number)
		if err != nil {
			return nil, 0, err
		}
		if v == 0 {
			missing = append(missing, n.name)
		}
	}
	vcpus, err = s.Extension(capMaxVCPUs)
	return missing, vcpus, err
}

// enoughMemory is what a container gets by default, in MiB.
const enoughMemory = 256

func memory(proc fs.FS) Check {
	c := Check{Name: "memory", Level: Good}
	mib, err := available(proc)
	if err != nil {
		return Check{Name: "memory", Level: Weak, Found: "unknown", Advice: err.Error()}
	}
	c.Found = fmt.Sprintf("%d MiB available", mib)
	if mib < enoughMemory {
		c.Level, c.Advice = Weak, fmt.Sprintf("free some, or give containers less than %d MiB with --memory", enoughMemory)
	}
	return c
}

// available is MemAvailable of /proc/meminfo, in MiB.
func available(proc fs.FS) (int64, error) {
	f, err := proc.Open("meminfo")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ":")
		if name == "MemAvailable" {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib >> 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}

func mke2fs() Check {
	for _, name := range []string{"/usr/sbin/mke2fs", "/sbin/mke2fs", "mke2fs"} {
		if path, err := exec.LookPath(name); err == nil {
			return Check{Name: "mke2fs", Level: Good, Found: path}
		}
	}
	return Check{Name: "mke2fs", Level: Weak, Found: "missing", Advice: "install e2fsprogs: without it only --read-only containers run"}
}

func tun() Check {
	const path = "/dev/net/tun"
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return Check{Name: path, Level: Weak, Found: "cannot be used", Advice: fmt.Sprintf("%v: load the module (modprobe tun); containers with a network of the host's will need it", err)}
	}
	_ = f.Close()
	return Check{Name: path, Level: Good, Found: "opens"}
}
