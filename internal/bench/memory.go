package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
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
	defer func() { _ = f.Close() }()
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

// child is a process's child that runs the program of that name, whichever of its
// threads started it.
func child(pid int, program string) (int, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			return 0, err
		}
		for _, c := range strings.Fields(string(children)) {
			comm, err := os.ReadFile("/proc/" + c + "/comm")
			if err != nil {
				return 0, err
			}
			if strings.TrimSpace(string(comm)) == program {
				return strconv.Atoi(c)
			}
		}
	}
	return 0, fmt.Errorf("process %d has no child %s", pid, program)
}
