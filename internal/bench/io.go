package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/vmm"
)

// job is what a guest is made to do, for ioTime.
type job struct {
	Name, Unit string
	command    string
	measure    func(output string) (float64, error) // a second
}

const (
	ioTime   = 4   // seconds of each job
	ioMemory = 512 // MiB
	ioDisk   = 256 << 20
	ioTAP    = "mvmbench0"
	hostIP   = "10.77.0.1"
	guestIP  = "10.77.0.2"
)

func jobs() []job {
	fio := fmt.Sprintf("fio --name=j --filename=$DATA --direct=1 --ioengine=libaio --time_based --runtime=%d --output-format=terse --terse-version=3 ", ioTime)
	iperf := fmt.Sprintf("iperf3 -c %s -f m -t %d ", hostIP, ioTime)
	return []job{
		{"fio 4 KiB random read, 32 in flight", "IOPS", fio + "--rw=randread --bs=4k --iodepth=32", terse(readOps, 1)},
		{"fio 4 KiB random read, 1 in flight", "IOPS", fio + "--rw=randread --bs=4k --iodepth=1", terse(readOps, 1)},
		{"fio 4 KiB random write, 32 in flight", "IOPS", fio + "--rw=randwrite --bs=4k --iodepth=32", terse(writeOps, 1)},
		{"fio 1 MiB sequential read, 8 in flight", "MiB/s", fio + "--rw=read --bs=1m --iodepth=8", terse(readKiB, 1<<10)},
		{"fio 1 MiB sequential write, 8 in flight", "MiB/s", fio + "--rw=write --bs=1m --iodepth=8", terse(writeKiB, 1<<10)},
		{"iperf3, guest to host", "Mbit/s", iperf, received},
		{"iperf3, host to guest", "Mbit/s", iperf + "-R", received},
	}
}

// Fields of fio's terse output, version 3: fio(1), TERSE OUTPUT.
const (
	readKiB, readOps   = 7, 8
	writeKiB, writeOps = 48, 49
)

// terse takes a field, counted from 1, of fio's line.
func terse(field int, scale float64) func(string) (float64, error) {
	return func(out string) (float64, error) {
		for line := range strings.Lines(out) {
			if fields := strings.Split(line, ";"); fields[0] == "3" && len(fields) > writeOps {
				v, err := strconv.ParseFloat(fields[field-1], 64)
				return v / scale, err
			}
		}
		return 0, fmt.Errorf("fio printed no result: %q", out)
	}
}

// received takes what iperf3 says that the receiver got.
func received(out string) (float64, error) {
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if i := slices.Index(words, "Mbits/sec"); i > 0 && slices.Contains(words, "receiver") {
			return strconv.ParseFloat(words[i-1], 64)
		}
	}
	return 0, fmt.Errorf("iperf3 printed no result: %q", out)
}

// ioInit is the guest's PID 1. The disk with the data is the one that is not its
// root's, wherever a VMM put it.
func ioInit(jobs []job) string {
	s := `#!/bin/busybox sh
export PATH=/bin LD_LIBRARY_PATH=/` + libraries + `
b=/bin/busybox
$b mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t tmpfs tmp /tmp
cd /tmp
$b ip link set lo up
$b ip addr add ` + guestIP + `/24 dev eth0
$b ip link set eth0 up
for d in /sys/block/vd*; do
	[ "$($b cat $d/ro)" = 1 ] || DATA=/dev/${d##*/}
done
`
	for i, j := range jobs {
		s += fmt.Sprintf("echo '@begin %d'; %s 2>&1; echo '@end'\n", i, j.command)
	}
	return s + "$b reboot -f\n"
}

// outcome is what a job got, on one of the VMMs.
type outcome struct {
	Rate []float64 // a second, of the job's unit
	CPU  []float64 // of one CPU, by the VMM's process, its guest included
}

// ioResult is a job's on both.
type ioResult struct {
	Name, Unit string
	QEMU, MVM  outcome
}

// measureIO runs the jobs on mvm's VMM and on QEMU in turns, in a process with a
// network namespace of its own, which takes the TAP device with it.
func measureIO(o options) ([]ioResult, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(o.Bin, "bench"), "inner", string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure disk and network: %w", err)
	}
	var results []ioResult
	return results, json.Unmarshal(out, &results)
}

// innerIO is measureIO's process.
func innerIO(text string) error {
	var o options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	results, err := o.ioRounds()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func (o options) ioRounds() ([]ioResult, error) {
	jobs := jobs()
	g, err := o.ioGuest(jobs)
	if err != nil {
		return nil, err
	}
	if err := commands("busybox", "tunctl -t "+ioTAP, "ip addr add "+hostIP+"/24 dev "+ioTAP, "ip link set "+ioTAP+" up", "ip link set lo up"); err != nil {
		return nil, err
	}
	iperf, err := o.find("iperf3")
	if err != nil {
		return nil, err
	}
	server := exec.Command(iperf, "-s", "-B", hostIP)
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	results := make([]ioResult, len(jobs))
	for i, j := range jobs {
		results[i].Name, results[i].Unit = j.Name, j.Unit
	}
	for range o.Rounds {
		for i, run := range []func(context.Context, options) (*exec.Cmd, error){g.onQEMU, g.onVMM} {
			err := o.runIO(run, jobs, func(j int, rate, cpu float64) {
				to := []*outcome{&results[j].QEMU, &results[j].MVM}[i]
				to.Rate, to.CPU = append(to.Rate, rate), append(to.CPU, cpu)
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// commands runs a program with each of these arguments.
func commands(program string, lines ...string) error {
	for _, line := range lines {
		if out, err := exec.Command(program, strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", program, line, err, out)
		}
	}
	return nil
}

// ioGuest makes the disks.
func (o options) ioGuest(jobs []job) (guest, error) {
	root := filepath.Join(o.Root, "io-root")
	data := filepath.Join(o.Root, "io-data")
	err := rootDisk(root, func(w io.Writer) error {
		return o.tree(w, []string{"busybox", "fio", "iperf3"}, map[string]string{"init": ioInit(jobs)})
	})
	if err != nil {
		return guest{}, err
	}
	// Written, so that it has all its blocks.
	if err := os.WriteFile(data, make([]byte, ioDisk), 0o600); err != nil {
		return guest{}, err
	}
	return guest{
		kernel: o.Kernel, memory: ioMemory, tap: ioTAP,
		disks: []vmm.Disk{{Path: root, ReadOnly: true}, {Path: data}},
		args:  []string{"8250.nr_uarts=1", "console=ttyS0", "root=/dev/vda", "rootfstype=erofs", "ro", "init=/init"},
	}, nil
}

// runIO runs a guest to its end, and tells add what each of its jobs got.
func (o options) runIO(start func(context.Context, options) (*exec.Cmd, error), jobs []job, add func(j int, rate, cpu float64)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*hung)
	defer cancel()
	cmd, err := start(ctx, o)
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(follow(bufio.NewScanner(out), cmd.Process.Pid, jobs, add), cmd.Wait())
}

// follow reads a guest's console to its end.
func follow(console *bufio.Scanner, pid int, jobs []job, add func(j int, rate, cpu float64)) error {
	var output []string
	var began time.Time
	var before time.Duration
	done := 0
	for console.Scan() {
		line := strings.TrimSpace(console.Text())
		switch {
		case strings.HasPrefix(line, "@begin"):
			output, began, before = nil, time.Now(), cpuTime(pid)
		case line == "@end" && done < len(jobs):
			cpu, took := cpuTime(pid)-before, time.Since(began)
			rate, err := jobs[done].measure(strings.Join(output, "\n"))
			if err != nil {
				return fmt.Errorf("%s: %w", jobs[done].Name, err)
			}
			add(done, rate, cpu.Seconds()/took.Seconds())
			done++
		default:
			output = append(output, line)
		}
	}
	if done < len(jobs) {
		return fmt.Errorf("the guest ended after %d of %d jobs: %q", done, len(jobs), output)
	}
	return nil
}

// cpuTime is what a process has used, by all its threads; 0 if it is gone.
func cpuTime(pid int) time.Duration {
	var ts unix.Timespec
	// clock_getcpuclockid(3): the number of a process's CPU clock.
	if unix.ClockGettime(int32(^pid<<3|2), &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// printIO writes a table. The CPU's share is per unit, as a time.
func printIO(w io.Writer, results []ioResult) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "QEMU\tmvm\tunit\tto QEMU's\tCPU us each: QEMU\tmvm\t  what")
	for _, r := range results {
		q, m := r.QEMU.medians(), r.MVM.medians()
		fmt.Fprintf(t, "%.0f\t%.0f\t%s\t%.2f\t%.0f\t%.0f\t  %s\n", q.rate, m.rate, r.Unit, m.rate/q.rate, q.each, m.each, r.Name)
	}
	_ = t.Flush()
}

type medians struct{ rate, each float64 } // each in microseconds of CPU

func (o outcome) medians() medians {
	rate, cpu := series{Samples: o.Rate}.median(), series{Samples: o.CPU}.median()
	return medians{rate, cpu / rate * 1e6}
}
