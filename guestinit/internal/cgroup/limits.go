package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// cpuPeriod is cpu.max's period in microseconds, the kernel's default; cpuMin is
// the least CPU time in one that the kernel takes.
const (
	cpuPeriod = 100_000
	cpuMin    = 1_000
	weightMax = 10_000
)

// setting is one write of a control file.
type setting struct {
	file, text string
}

// Limit sets the limits that l has. Nothing is set if a value is out of range.
func (g Group) Limit(l proto.Limits) error {
	settings, err := settingsOf(l)
	if err != nil {
		return err
	}
	for _, s := range settings {
		err := g.write(s.file, s.text)
		if errors.Is(err, os.ErrNotExist) && s.file == "memory.swap.max" {
			continue // a kernel without swap keeps any bound
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settingsOf is l as writes of control files.
func settingsOf(l proto.Limits) ([]setting, error) {
	var list []setting
	add := func(file, text string) { list = append(list, setting{file, text}) }
	switch cpu := l.CPUMicros; {
	case cpu == proto.Unlimited:
		add("cpu.max", "max "+strconv.Itoa(cpuPeriod))
	case cpu < 0 || cpu > 0 && cpu/(1e6/cpuPeriod) < cpuMin:
		return nil, outOfRange("CPU time", cpu, "it is in millionths of a CPU, at least 10000")
	case cpu > 0:
		add("cpu.max", fmt.Sprintf("%d %d", cpu/(1e6/cpuPeriod), cpuPeriod))
	}
	if l.CPUWeight < 0 || l.CPUWeight > weightMax {
		return nil, outOfRange("CPU weight", l.CPUWeight, "1 to 10000")
	}
	if l.CPUWeight > 0 {
		add("cpu.weight", strconv.FormatInt(l.CPUWeight, 10))
	}
	if l.CPUSet != "" {
		add("cpuset.cpus", l.CPUSet)
	}
	for _, bound := range []struct {
		name, file string
		value      int64
	}{
		{"memory limit", "memory.max", l.Memory},
		{"swap limit", "memory.swap.max", l.Swap},
		{"process limit", "pids.max", l.PIDs},
	} {
		if bound.value < proto.Unlimited {
			return nil, outOfRange(bound.name, bound.value, "-1 is unlimited")
		}
		if bound.value != 0 {
			add(bound.file, value(bound.value))
		}
	}
	for _, io := range l.IO {
		text, err := ioMax(io)
		if err != nil {
			return nil, err
		}
		add("io.max", text)
	}
	return list, nil
}

func outOfRange(name string, value int64, want string) error {
	return proto.Errorf(proto.Invalid, "%s %d is out of range: %s", name, value, want)
}

// value is a bound as the kernel reads it.
func value(n int64) string {
	if n == proto.Unlimited {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// ioMax is one line of io.max: "MAJOR:MINOR rbps=... wbps=... riops=... wiops=...".
func ioMax(l proto.IOLimit) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(l.Device, &st); err != nil {
		return "", proto.Errorf(proto.Invalid, "limit on %s: %w", l.Device, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", proto.Errorf(proto.Invalid, "limit on %s, which is no block device", l.Device)
	}
	text := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	for _, bound := range []struct {
		key   string
		value int64
	}{{"rbps", l.ReadBytes}, {"wbps", l.WriteBytes}, {"riops", l.ReadOps}, {"wiops", l.WriteOps}} {
		if bound.value < proto.Unlimited {
			return "", outOfRange("limit on "+l.Device, bound.value, "-1 is unlimited")
		}
		if bound.value != 0 {
			text += " " + bound.key + "=" + value(bound.value)
		}
	}
	return text, nil
}

// Usage is what the group uses. A file that the kernel has not counts as zeros.
func (g Group) Usage() (proto.Usage, error) {
	var u proto.Usage
	var errs []error
	text := func(file string) string {
		t, err := g.read(file)
		errs = append(errs, ignoreMissing(err))
		return t
	}
	num := func(file string) int64 {
		n, err := g.first(file)
		errs = append(errs, ignoreMissing(err))
		return n
	}
	cpu := text("cpu.stat")
	u.CPUMicros, u.UserMicros = number(cpu, "usage_usec"), number(cpu, "user_usec")
	u.SystemMicros, u.ThrottledMicros = number(cpu, "system_usec"), number(cpu, "throttled_usec")
	u.Memory, u.MemoryPeak, u.MemoryLimit = num("memory.current"), num("memory.peak"), num("memory.max")
	u.MemoryFile = number(text("memory.stat"), "file")
	u.PIDs = num("pids.current")
	u.OOMKills = OOMKills(text("memory.events"))
	u.IO = ioUsage(text("io.stat"), deviceName)
	return u, errors.Join(errs...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// ioUsage parses io.stat: "MAJOR:MINOR rbytes=... wbytes=... rios=... wios=...".
func ioUsage(text string, name func(number string) string) []proto.IOUsage {
	var list []proto.IOUsage
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue // a device that nothing was read from or written to
		}
		u := proto.IOUsage{Device: name(fields[0])}
		to := map[string]*int64{
			"rbytes": &u.ReadBytes, "wbytes": &u.WriteBytes, "rios": &u.ReadOps, "wios": &u.WriteOps,
		}
		for _, field := range fields[1:] {
			key, v, _ := strings.Cut(field, "=")
			if p := to[key]; p != nil {
				*p, _ = strconv.ParseInt(v, 10, 64)
			}
		}
		list = append(list, u)
	}
	return list
}

// deviceName is the node of a device "MAJOR:MINOR", or that number.
func deviceName(number string) string {
	nodes, err := filepath.Glob("/dev/vd?")
	if err != nil {
		return number
	}
	for _, node := range nodes {
		var st unix.Stat_t
		if unix.Stat(node, &st) == nil && number == fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) {
			return node
		}
	}
	return number
}
