package vhost

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// cpuModel is this machine's processor, as /proc/cpuinfo names it.
func cpuModel() (string, error) {
	return cpuinfo("model name")
}

// tscKHz is how fast this machine's TSC counts, in kHz: QEMU's TCG shows it to
// its guest unchanged, and a guest that is told need not measure, which it would
// do badly under emulation. /proc/cpuinfo has the TSC's frequency on machines
// where the kernel does not scale it; rounded, so that the snapshot's key does
// not change with its last digits.
func tscKHz() (int, error) {
	text, err := cpuinfo("cpu MHz")
	if err != nil {
		return 0, err
	}
	mhz, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/cpuinfo: %w", err)
	}
	return int(math.Round(mhz)) * 1000, nil
}

// cpuinfo is the first value of a field of /proc/cpuinfo.
func cpuinfo(field string) (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errors.New("/proc/cpuinfo has no " + field)
}
