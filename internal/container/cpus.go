package container

import (
	"fmt"
	"math"
	"strconv"
)

// CPUs is an amount of CPU time per time, in millionths of one CPU's.
type CPUs int64

const (
	oneCPU CPUs = 1e6
	// minCPUs is what cpu.max takes: 1 ms of each 100 ms.
	minCPUs = 0.01
	// maxCPUs is far above every machine, and keeps arithmetic in range.
	maxCPUs = 1 << 16
)

// ParseCPUs reads a decimal number of CPUs ("1.5"), as docker's --cpus does.
func ParseCPUs(s string) (CPUs, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= minCPUs && f <= maxCPUs) { // so that NaN is refused
		return 0, fmt.Errorf("bad number of CPUs %q: want a number from %v to %d, such as 2 or 0.5", s, minCPUs, maxCPUs)
	}
	return CPUs(math.Round(f * float64(oneCPU))), nil
}

// VCPUs is how many vCPUs it takes to use them.
func (c CPUs) VCPUs() int { return int((c + oneCPU - 1) / oneCPU) }

// bound is what limits the CPU time beside the number of vCPUs; 0: nothing.
func (c CPUs) bound() int64 {
	if c%oneCPU == 0 {
		return 0
	}
	return int64(c)
}
