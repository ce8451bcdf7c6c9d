package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/mvm-project/mvm/vmm/kvm"
)

func openKVM() error {
	s, err := kvm.Open()
	if err != nil {
		return err
	}
	return s.Close()
}

// device judges what opening /dev/kvm gave, on a processor with the given
// virtualisation.
func device(err error, cpu virtualisation) Check {
	c := Check{Name: kvm.Path, Level: Good, Found: "opens"}
	if err == nil {
		return c
	}
	c.Level, c.Found, c.Advice = Bad, "cannot be used", err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		c.Found, c.Advice = "is not there", cpu.advice()
	}
	return c
}

// virtualisation is what a processor has for it: the flag of /proc/cpuinfo.
type virtualisation string

const (
	flagVMX virtualisation = "vmx"
	flagSVM virtualisation = "svm"
	noFlag  virtualisation = ""
)

// processor reads the virtualisation of the host's processors.
func processor(proc fs.FS) virtualisation {
	b, err := fs.ReadFile(proc, "cpuinfo")
	if err != nil {
		return noFlag
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		for _, flag := range strings.Fields(value) {
			if v := virtualisation(flag); v == flagVMX || v == flagSVM {
				return v
			}
		}
	}
	return noFlag
}

// advice says what brings /dev/kvm.
func (v virtualisation) advice() string {
	switch v {
	case flagVMX:
		return "the processor has VMX: load the module (modprobe kvm-intel), or switch virtualisation on in the firmware"
	case flagSVM:
		return "the processor has SVM: load the module (modprobe kvm-amd), or switch virtualisation on in the firmware"
	case noFlag:
	}
	return "the processor shows neither VMX nor SVM: switch virtualisation on in the firmware; in a virtual machine, ask for nested virtualisation; in a container, pass the device on (--device /dev/kvm)"
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

// KindOf tells the kind of KVM from sysfs, and from whether it was seen to
// interpret a guest's kernel.
func KindOf(sys fs.FS, interpreted bool) Kind {
	if interpreted {
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

// flavour judges a kind of KVM; err is why it could not be seen at work.
func flavour(k Kind, err error) Check {
	c := Check{Name: "kind of KVM", Level: Good, Found: string(k)}
	if err != nil {
		c.Level, c.Found, c.Advice = Bad, "runs no guest", err.Error()
		return c
	}
	switch k {
	case PVM:
		c.Found += ": programs run on the processor, the guest's kernel is interpreted"
		c.Level, c.Advice = Weak, "containers run, best on one CPU, with a kernel made for it: computing is as fast as elsewhere, but a system call takes 0.1 ms, a new process 0.1 s and a start some seconds; a host with VMX or SVM, or nested virtualisation, has no such cost"
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
		{"KVM_CAP_IOEVENTFD", 36},
		{"KVM_CAP_SET_IDENTITY_MAP_ADDR", 37},
		{"KVM_CAP_SIGNAL_MSI", 77},
		{"KVM_CAP_SPLIT_IRQCHIP", 121},
		{"KVM_CAP_IMMEDIATE_EXIT", 136},
	}
}

const capMaxVCPUs = 66 // KVM_CAP_MAX_VCPUS

// extensions asks this host's KVM for the value of each capability.
func extensions() (values map[uintptr]int, err error) {
	s, err := kvm.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	values = map[uintptr]int{}
	for _, c := range append(needed(), capability{number: capMaxVCPUs}) {
		if values[c.number], err = s.Extension(c.number); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// capabilities judges the values that extensions found.
func capabilities(values map[uintptr]int, err error) Check {
	c := Check{Name: "KVM capabilities", Level: Good}
	var missing []string
	for _, n := range needed() {
		if values[n.number] == 0 {
			missing = append(missing, n.name)
		}
	}
	switch {
	case err != nil:
		c.Level, c.Found, c.Advice = Bad, "cannot be read", err.Error()
	case len(missing) > 0:
		c.Level, c.Found, c.Advice = Bad, "missing "+strings.Join(missing, ", "), "use Linux 4.13 or newer on the host"
	default:
		c.Found = fmt.Sprintf("all, up to %d vCPUs", values[capMaxVCPUs])
	}
	return c
}
