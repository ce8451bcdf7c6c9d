package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// process is the container's first process, as PID 1 sees it.
type process struct {
	pid     int
	report  *os.File       // the first stage's report: proto.Exit, or nothing once it has become the process
	streams sync.WaitGroup // of stdout and stderr, each until its end
}

// File descriptors of the first stage besides the standard three.
const (
	orderFD  = 3 // the proto.Container to become, as JSON
	reportFD = 4 // why it could not
)

// spawn starts the first stage of c's process in its namespaces, with its
// streams connected to the host.
func (s *session) spawn(c proto.Container) (*process, error) {
	var near, far files
	defer far.close()
	stdin, stdinW, err := far.stdin(&near, c.Process.Stdin)
	if err != nil {
		return nil, err
	}
	stdoutR, stdout, err1 := pipe(&near, &far)
	stderrR, stderr, err2 := pipe(&near, &far)
	orderW, order, err3 := pipeTo(&near, &far)
	report, reportW, err4 := pipe(&near, &far)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		near.close()
		return nil, err
	}
	cgroup, err := makeCgroup(c)
	if err != nil {
		near.close()
		return nil, err
	}
	far.add(cgroup)
	p := &process{report: report}
	if err := s.connect(p, c.ID, stdinW, stdoutR, stderrR); err != nil {
		near.close()
		return nil, err
	}
	proc, err := os.StartProcess(s.exe, []string{s.exe, stageName}, &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{stdin, stdout, stderr, order, reportW},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
				unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
			Setsid:      true,
			UseCgroupFD: true,
			CgroupFD:    int(cgroup.Fd()),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start the container's process: %w", err)
	}
	p.pid = proc.Pid
	defer orderW.Close()
	if err := json.NewEncoder(orderW).Encode(c); err != nil {
		return nil, fmt.Errorf("tell the container's process what to be: %w", err)
	}
	return p, nil
}

// started waits until the first stage has become the container's process, which
// closes its end of the report; or returns why it could not.
func (p *process) started() *proto.Exit {
	defer p.report.Close()
	text, err := io.ReadAll(p.report)
	if err == nil && len(text) == 0 {
		return nil
	}
	var exit proto.Exit
	if err == nil {
		err = json.Unmarshal(text, &exit)
	}
	if err != nil {
		exit = failed(fmt.Errorf("hear from the container's process: %w", err))
	}
	_, _ = reap(p.pid)
	p.streams.Wait()
	return &exit
}

// files are open files to be closed together.
type files []*os.File

func (f *files) add(file *os.File) { *f = append(*f, file) }

func (f *files) close() {
	for _, file := range *f {
		file.Close()
	}
	*f = nil
}

// pipe makes a pipe that a child writes: r is PID 1's end, w the child's.
func pipe(near, far *files) (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	near.add(r)
	far.add(w)
	return r, w, nil
}

// pipeTo makes a pipe that a child reads: w is PID 1's end, r the child's.
func pipeTo(near, far *files) (w, r *os.File, err error) {
	r, w, err = pipe(far, near)
	return w, r, err
}

// stdin is the child's standard input: a pipe, or /dev/null if the host has
// nothing to send.
func (f *files) stdin(near *files, wanted bool) (r, w *os.File, err error) {
	if wanted {
		w, r, err = pipeTo(near, f)
		return r, w, err
	}
	if r, err = os.Open(os.DevNull); err != nil {
		return nil, nil, err
	}
	f.add(r)
	return r, nil, nil
}

// cgroupDir is where the unified hierarchy is mounted for PID 1.
const cgroupDir = runDir + "/cgroup"

// cpuPeriod is cpu.max's period in microseconds, the kernel's default.
const cpuPeriod = 100_000

// makeCgroup makes the container's cgroup, with its bound on CPU time.
func makeCgroup(c proto.Container) (*os.File, error) {
	if err := mountAll([]mount{{"cgroup", cgroupDir, "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""}}); err != nil {
		return nil, err
	}
	dir := cgroupDir + "/container"
	if err := os.WriteFile(cgroupDir+"/cgroup.subtree_control", []byte("+cpu +memory +pids"), 0); err != nil {
		return nil, fmt.Errorf("cgroup controllers: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if c.CPUMicros > 0 {
		quota := strconv.FormatInt(c.CPUMicros*cpuPeriod/1e6, 10) + " " + strconv.Itoa(cpuPeriod)
		if err := os.WriteFile(dir+"/cpu.max", []byte(quota), 0); err != nil {
			return nil, fmt.Errorf("bound CPU time to %q: %w", quota, err)
		}
	}
	return os.Open(dir)
}
