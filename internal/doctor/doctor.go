// Package doctor looks at a host for what mvm needs of it.
package doctor

import (
	"os"
	"os/exec"

	"github.com/mvm-project/mvm/internal/network/bridge"
	"github.com/mvm-project/mvm/vmm/pvm"
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
	sys, proc := os.DirFS("/sys"), os.DirFS("/proc")
	checks := []Check{device(openKVM(), processor(proc))}
	if checks[0].Level == Good {
		interpreted, err := pvm.Detect(sys)
		checks = append(checks, flavour(KindOf(sys, interpreted), err), capabilities(extensions()))
	}
	return report(append(checks, memory(proc), mke2fs(exec.LookPath), tun(openTUN()), bridges(os.Geteuid(), bridge.Probe))...)
}

// report sums checks up.
func report(checks ...Check) Report {
	r := Report{OK: true, Checks: checks}
	for _, c := range checks {
		r.OK = r.OK && c.Level != Bad
	}
	return r
}
