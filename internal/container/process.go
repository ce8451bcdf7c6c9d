package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Process names a process for as long as the machine is up, and beyond: a number
// alone is given again to others.
type Process struct {
	PID int
	// Start is when it started, in clock ticks since boot.
	Start uint64
	// Boot is the machine's boot ID.
	Boot string
}

// identify records a process that is there.
func identify(pid int) (Process, error) {
	boot, err := bootID()
	if err != nil {
		return Process{}, err
	}
	start, _, err := stat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return Process{PID: pid, Start: start, Boot: boot}, nil
}

// Alive says whether the process still runs: it is neither gone, nor a zombie,
// nor another one under the same number.
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	start, state, err := stat(p.PID)
	if err != nil || start != p.Start || state == 'Z' || state == 'X' {
		return false
	}
	boot, err := bootID()
	return err == nil && boot == p.Boot
}

// kill ends the process if it still runs.
func (p Process) kill() error {
	// The handle (a pidfd) comes first: once it is checked to be the right one,
	// it cannot become another's.
	h, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer func() { _ = h.Release() }()
	if !p.Alive() {
		return nil
	}
	if err := h.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

// stat reads a process's start time and state from /proc/PID/stat, proc(5).
func stat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseStat(data)
}

// parseStat takes the 3rd and the 22nd field. The 2nd is the program's name in
// parentheses and may hold anything, parentheses and spaces too.
func parseStat(data []byte) (start uint64, state byte, err error) {
	const firstField, stateField, startField = 3, 3, 22
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) <= startField-firstField || len(fields[stateField-firstField]) != 1 {
		return 0, 0, fmt.Errorf("stat has %d fields", len(fields))
	}
	start, err = strconv.ParseUint(string(fields[startField-firstField]), 10, 64)
	return start, fields[stateField-firstField][0], err
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
