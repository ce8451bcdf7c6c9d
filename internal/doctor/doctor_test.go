package doctor

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// files makes a file system of texts by path.
func files(texts map[string]string) fs.FS {
	fsys := fstest.MapFS{}
	for path, text := range texts {
		fsys[path] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func TestKindOf(t *testing.T) {
	for name, tt := range map[string]struct {
		sys         map[string]string
		interpreted bool
		want        Kind
	}{
		"Intel":                {map[string]string{"module/kvm_intel/parameters/ept": "Y\n"}, false, VMX},
		"Intel without EPT":    {map[string]string{"module/kvm_intel/parameters/ept": "N\n"}, false, Shadow},
		"AMD, older kernel":    {map[string]string{"module/kvm_amd/parameters/npt": "1\n"}, false, SVM},
		"AMD":                  {map[string]string{"module/kvm_amd/parameters/npt": "Y\n"}, false, SVM},
		"AMD without NPT":      {map[string]string{"module/kvm_amd/parameters/npt": "0\n"}, false, Shadow},
		"kvm-pvm":              {map[string]string{"module/kvm_pvm/refcnt": "0\n"}, true, PVM},
		"something else":       {map[string]string{"module/kvm/parameters/halt_poll_ns": "200000\n"}, false, Unknown},
		"no module parameters": {nil, false, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := KindOf(files(tt.sys), tt.interpreted); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProcessor(t *testing.T) {
	for name, tt := range map[string]struct {
		cpuinfo string
		want    virtualisation
	}{
		"Intel":                    {"processor\t: 0\nflags\t\t: fpu vmx ssse3\n", flagVMX},
		"AMD":                      {"processor\t: 0\nflags\t\t: fpu svm\n", flagSVM},
		"none":                     {"processor\t: 0\nflags\t\t: fpu svme novmx\n", noFlag},
		"a name that has the word": {"model name\t: vmx\nflags\t\t: fpu\n", noFlag},
		"empty":                    {"", noFlag},
	} {
		t.Run(name, func(t *testing.T) {
			if got := processor(files(map[string]string{"cpuinfo": tt.cpuinfo})); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := processor(files(nil)); got != noFlag {
		t.Errorf("without cpuinfo: got %q", got)
	}
}

// all is what extensions finds on a host that has everything.
func all() map[uintptr]int {
	values := map[uintptr]int{capMaxVCPUs: 4096}
	for _, n := range needed() {
		values[n.number] = 1
	}
	return values
}

// without is all but KVM_CAP_IOEVENTFD and KVM_CAP_SPLIT_IRQCHIP.
func without() map[uintptr]int {
	values := all()
	values[36], values[121] = 0, 0
	return values
}

func none(string) (string, error) { return "", exec.ErrNotFound }

func only(path string) func(string) (string, error) {
	return func(name string) (string, error) {
		if name == path {
			return path, nil
		}
		return none(name)
	}
}

func TestChecks(t *testing.T) {
	meminfo := func(text string) fs.FS { return files(map[string]string{"meminfo": text}) }
	missing := &fs.PathError{Op: "open", Path: "/dev/kvm", Err: unix.ENOENT}
	for name, tt := range map[string]struct {
		got   Check
		level Level
		found string // a part of Found
		hint  string // a part of Advice
	}{
		"kvm":                    {device(nil, flagVMX), Good, "opens", ""},
		"kvm, module not loaded": {device(missing, flagSVM), Bad, "is not there", "modprobe kvm-amd"},
		"kvm, Intel":             {device(missing, flagVMX), Bad, "is not there", "modprobe kvm-intel"},
		"kvm, no virtualisation": {device(missing, noFlag), Bad, "is not there", "nested virtualisation"},
		"kvm, not allowed":       {device(os.ErrPermission, flagVMX), Bad, "cannot be used", "permission denied"},

		"VMX":    {flavour(VMX, nil), Good, "VMX+EPT", ""},
		"SVM":    {flavour(SVM, nil), Good, "SVM+NPT", ""},
		"shadow": {flavour(Shadow, nil), Weak, "shadow paging", "ept=1"},
		"other":  {flavour(Unknown, nil), Weak, "unknown", "kvm-intel"},

		"pvm":    {flavour(PVM, nil), Weak, "kvm-pvm: programs run on the processor", "containers run"},
		"broken": {flavour(Unknown, errors.New("KVM_RUN: bad")), Bad, "runs no guest", "KVM_RUN: bad"},

		"capabilities":                 {capabilities(all(), nil), Good, "4096 vCPUs", ""},
		"capabilities, some missing":   {capabilities(without(), nil), Bad, "missing KVM_CAP_IOEVENTFD, KVM_CAP_SPLIT_IRQCHIP", "Linux 4.13"},
		"capabilities, cannot be read": {capabilities(nil, errors.New("ioctl: bad")), Bad, "cannot be read", "ioctl: bad"},

		"memory":           {memory(meminfo("MemTotal: 9999999 kB\nMemAvailable:  1048576 kB\n")), Good, "1024 MiB", ""},
		"memory, little":   {memory(meminfo("MemAvailable:  102400 kB\n")), Weak, "100 MiB", "--memory"},
		"memory, no line":  {memory(meminfo("MemTotal: 1 kB\n")), Weak, "unknown", "MemAvailable"},
		"memory, no file":  {memory(files(nil)), Weak, "unknown", "meminfo"},
		"memory, nonsense": {memory(meminfo("MemAvailable: lots\n")), Weak, "unknown", "lots"},

		"mke2fs":             {mke2fs(only("/usr/sbin/mke2fs")), Good, "/usr/sbin/mke2fs", ""},
		"mke2fs, in PATH":    {mke2fs(only("mke2fs")), Good, "mke2fs", ""},
		"mke2fs, missing":    {mke2fs(none), Weak, "missing", "e2fsprogs"},
		"tun":                {tun(nil), Good, "opens", ""},
		"tun, no module":     {tun(unix.ENODEV), Weak, "cannot be used", "modprobe tun"},
		"tun, not permitted": {tun(unix.EACCES), Weak, "cannot be used", "root"},

		"bridges":            {bridges(0, func() error { return nil }), Good, "can be made", ""},
		"bridges, no module": {bridges(0, func() error { return unix.EOPNOTSUPP }), Weak, "cannot be made: operation not supported", "modprobe -a tun bridge nf_tables"},
		"bridges, no root":   {bridges(1000, nil), Weak, "only root", "--network user"},
	} {
		t.Run(name, func(t *testing.T) {
			c := tt.got
			if c.Level != tt.level || !strings.Contains(c.Found, tt.found) || !strings.Contains(c.Advice, tt.hint) {
				t.Errorf("got %+v", c)
			}
			if (c.Advice == "") != (c.Level == Good) {
				t.Errorf("level %q with advice %q", c.Level, c.Advice)
			}
		})
	}
}

func TestReport(t *testing.T) {
	good, weak, bad := Check{Level: Good}, Check{Level: Weak}, Check{Level: Bad}
	for _, tt := range []struct {
		checks []Check
		ok     bool
	}{
		{[]Check{good, good}, true},
		{[]Check{good, weak}, true},
		{[]Check{bad, good}, false},
		{[]Check{good, weak, bad}, false},
	} {
		if got := report(tt.checks...).OK; got != tt.ok {
			t.Errorf("%+v: OK is %v", tt.checks, got)
		}
	}
}
