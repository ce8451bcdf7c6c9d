package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

// mostTouched bounds touchMemory on a large host, in bytes: no sample uses as much.
const mostTouched = 4 << 30

// touchMemory writes to most of the host's free memory. A host that is a virtual
// machine gets its memory from its own host as it first touches it, and an
// emulated one has to forget what it knows of code in a page that is written to:
// up to 100 ms for 2 MiB on the virtual KVM host, a quarter of a boot, for whichever
// sample meets the pages where the one before had its guest's code.
func touchMemory() error {
	free, err := available()
	if err != nil {
		return err
	}
	size := min(free/4*3, mostTouched)
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("touch %d bytes of memory: %w", size, err)
	}
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // quicker, where the kernel has them
	return errors.Join(unix.Madvise(mem, unix.MADV_POPULATE_WRITE), unix.Munmap(mem))
}

// available is how many bytes of memory the host can give without swapping (proc(5)).
func available() (int, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "MemAvailable:" {
			kib, err := strconv.Atoi(words[1])
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
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
