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
// mappings that are the guest's RAM: the kernel's file, and large ones of no file.
func ownMemory(pid int, o options) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	guests, file, total := false, false, 0.0
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		words := strings.Fields(sc.Text())
		if len(words) < 3 || words[2] != "kB" { // proc(5): the line that begins a mapping, or flags
			file = len(words) > 5
			guests = file && words[5] == o.Kernel
			continue
		}
		kib, err := strconv.ParseFloat(words[1], 64)
		switch {
		case err != nil:
			return 0, err
		case words[0] == "Size:" && !file && kib >= float64(o.Memory)*1024/10:
			guests = true
		case words[0] == "Pss:" && !guests:
			total += kib
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
