// Package procs reads what proc(5) tells of processes.
package procs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mvm-project/mvm/guestinit/proto"
)

const (
	// maxText bounds what is read of one file of a process, and maxCommand what
	// is told of its command line, in bytes.
	maxText    = 4096
	maxCommand = 512
	// tick is one hundredth of a second: USER_HZ is 100 on x86.
	tick = 10_000 // microseconds
	// nanos is a microsecond.
	nanos = 1_000
)

// Proc is a mounted procfs.
type Proc struct {
	Dir string
	// Boot is when the machine's clock of process start times began, in
	// nanoseconds since the Unix epoch.
	Boot int64
}

// errGone is for a process that has ended.
var errGone = errors.New("it has ended")

// List describes processes by their numbers in Dir. Those that have ended since
// are left out. Parents that are not in pids count as outside.
func (p Proc) List(pids []int) []proto.ProcessInfo {
	var list []proto.ProcessInfo
	inside := map[int]int{}
	for _, pid := range pids {
		info, err := p.read(pid)
		if err != nil {
			continue
		}
		inside[pid] = info.PID
		list = append(list, info)
	}
	for i := range list {
		list[i].PPID = inside[list[i].PPID]
	}
	return list
}

// read describes one process; PPID is the parent's number in Dir.
func (p Proc) read(pid int) (proto.ProcessInfo, error) {
	dir := filepath.Join(p.Dir, strconv.Itoa(pid))
	stat, err := readFile(dir + "/stat")
	if err != nil {
		return proto.ProcessInfo{}, err
	}
	info, name, err := parseStat(stat)
	if err != nil {
		return info, err
	}
	info.Started += p.Boot
	status, err := readFile(dir + "/status")
	if err != nil {
		return info, err
	}
	info.UID, info.PID = parseStatus(status)
	if info.PID == 0 {
		info.PID = pid
	}
	info.VMPID = pid
	cmdline, err := readFile(dir + "/cmdline")
	if err != nil {
		return info, err
	}
	info.Command = command(cmdline, name)
	return info, nil
}

// readFile reads the beginning of a file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errGone
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, maxText)
	n, _ := f.Read(buf) // nothing, if it has just ended
	return buf[:n], nil
}

// command is a command line as ps shows it.
func command(cmdline []byte, name string) string {
	text := strings.TrimRight(strings.ReplaceAll(string(cmdline), "\x00", " "), " ")
	if text == "" {
		return "[" + name + "]"
	}
	if len(text) > maxCommand {
		text = text[:maxCommand]
	}
	return strings.ToValidUTF8(text, "?")
}

// Fields of /proc/PID/stat, proc_pid_stat(5), from the one after the name on.
const (
	fieldState = iota
	fieldParent
	_
	_
	fieldTTY
	_
	_
	_
	_
	_
	_
	fieldUser
	fieldSystem
	_
	_
	_
	fieldNice
	fieldThreads
	_
	fieldStart
	_
	fieldRSS
	fieldCount
)

// parseStat reads /proc/PID/stat. The name is in parentheses and may hold
// anything, parentheses and spaces too. Started is since boot.
func parseStat(text []byte) (info proto.ProcessInfo, name string, err error) {
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return info, "", fmt.Errorf("stat %.80q has no name", text)
	}
	fields := bytes.Fields(text[shut+1:])
	if len(fields) < fieldCount {
		return info, "", fmt.Errorf("stat has %d fields", len(fields))
	}
	num := func(i int) int64 {
		n, e := strconv.ParseInt(string(fields[i]), 10, 64)
		err = errors.Join(err, e)
		return n
	}
	info = proto.ProcessInfo{
		State:     string(fields[fieldState]),
		PPID:      int(num(fieldParent)),
		TTY:       uint32(num(fieldTTY)),
		Nice:      int(num(fieldNice)),
		Threads:   int(num(fieldThreads)),
		CPUMicros: (num(fieldUser) + num(fieldSystem)) * tick,
		RSS:       num(fieldRSS) * int64(os.Getpagesize()),
		Started:   num(fieldStart) * tick * nanos,
	}
	return info, strings.ToValidUTF8(string(text[open+1:shut]), "?"), err
}

// parseStatus reads the user and the innermost number of /proc/PID/status.
func parseStatus(text []byte) (uid uint32, pid int) {
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "Uid":
			n, _ := strconv.ParseUint(fields[0], 10, 32)
			uid = uint32(n)
		case "NSpid":
			pid, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	return uid, pid
}
