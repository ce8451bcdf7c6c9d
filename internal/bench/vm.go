package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/mvm-project/mvm/vmm"
)

// guest is a VM that mvm's VMM and QEMU both run, with one vCPU.
type guest struct {
	kernel, initrd string
	memory         int // MiB
	disks          []vmm.Disk
	tap            string
	args           []string // the kernel's, beside what each VMM says
}

// guestMAC is its interface's address.
const guestMAC = "02:00:00:00:00:02"

// qemuArgs are vmm's words of the kernel's command line; microvm has no i8042 to
// reset by, and its guest measures the TSC unless told. guestinit without a vsock device says so on the console and resets.
const qemuArgs = "quiet loglevel=3 reboot=t panic=-1 keep_bootcon earlycon=uart8250,io,0x3f8 8250.nr_uarts=0 no_timer_check noreplace-smp rootfstype=ramfs tsc=reliable"

// kernelArgsEnv has the host's words for every guest's command line.
const kernelArgsEnv = "MVM_KERNEL_ARGS"

// words are all of the guest's own words, and the host's.
func (g guest) words() []string { return append(strings.Fields(os.Getenv(kernelArgsEnv)), g.args...) }

// onQEMU runs it on QEMU's microvm machine; its console is stdout.
func (g guest) onQEMU(ctx context.Context, o options) (*exec.Cmd, error) {
	args := []string{
		"-M", "microvm,acpi=off", "-accel", "kvm", "-cpu", "host", "-global", "virtio-mmio.force-legacy=false",
		"-L", o.Bin, "-m", strconv.Itoa(g.memory), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", g.kernel, "-append", strings.Join(append([]string{qemuArgs}, g.words()...), " "),
	}
	if g.initrd != "" {
		args = append(args, "-initrd", g.initrd)
	}
	for i, d := range g.disks {
		ro := "off"
		if d.ReadOnly {
			ro = "on"
		}
		args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,file=%s,read-only=%s", i, d.Path, ro),
			"-device", fmt.Sprintf("virtio-blk-device,drive=d%d", i))
	}
	if g.tap != "" {
		args = append(args, "-netdev", "tap,id=n,script=no,downscript=no,ifname="+g.tap, "-device", "virtio-net-device,netdev=n,mac="+guestMAC)
	}
	return exec.CommandContext(ctx, o.QEMU, args...), nil
}

// onVMM runs it with package vmm in a process of its own; its console is stdout,
// of which marks are the last line.
func (g guest) onVMM(ctx context.Context, o options) (*exec.Cmd, error) {
	c := vmm.Config{
		Kernel: g.kernel, MapKernel: true, PVM: o.PVM, Initrd: g.initrd, VCPUs: 1, Memory: int64(g.memory) << 20, Disks: g.disks, Args: g.words(),
	}
	if g.tap != "" {
		c.NICs = []vmm.NIC{{MAC: [6]byte{2, 0, 0, 0, 0, 2}, TAP: g.tap}}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, filepath.Join(o.Bin, "bench"), "vm", string(text)), nil
}

// marks are moments of a VM's life, counted from before it was made.
type marks struct {
	Run, PID1, Exit time.Duration
}

// stamp is a console that notes when the line began by which guestinit says that
// it is there: a kernel may have said something before.
type stamp struct {
	start, lineStart time.Time
	line             []byte
	pid1             time.Duration
}

func (s *stamp) Write(p []byte) (int, error) {
	for _, b := range p {
		if len(s.line) == 0 {
			s.lineStart = time.Now()
		}
		if s.line = append(s.line, b); b == '\n' {
			s.line = s.line[:0]
		}
		if s.pid1 == 0 && string(s.line) == "guestinit" {
			s.pid1 = s.lineStart.Sub(s.start)
		}
	}
	return os.Stdout.Write(p)
}

// runVM runs the VM of a vmm.Config as JSON to its reset, and prints marks.
func runVM(config string) error {
	console := &stamp{start: time.Now()}
	var c vmm.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	vm, err := vmm.New(c, console)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(vm.Procs())
	m := marks{Run: time.Since(console.start)}
	if err := vm.Run(context.Background()); !errors.Is(err, vmm.ErrReset) {
		return errors.Join(err, vm.Close())
	}
	if err := vm.Close(); err != nil {
		return err
	}
	m.PID1, m.Exit = console.pid1, time.Since(console.start)
	fmt.Println() // the guest's last line may not have ended
	return json.NewEncoder(os.Stdout).Encode(m)
}
