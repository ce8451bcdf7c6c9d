package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ownMemory is the proportional set size of a process in KiB, without the
// mapping that is the guest's RAM: the one of at least that size.
func ownMemory(pid, guestMiB int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var size, total float64
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ":")
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			continue // the line that begins a mapping, or flags
		}
		switch name {
		case "Size":
			size = kib
		case "Pss":
			if size < float64(guestMiB)*1024*0.9 {
				total += kib
			}
		}
	}
	return total, sc.Err()
}

// child is the only child of a process.
func child(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) != 1 {
		return 0, fmt.Errorf("process %d has %d children: %q", pid, len(f), b)
	}
	return strconv.Atoi(f[0])
}
