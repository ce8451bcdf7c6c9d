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
	"strings"
	"time"

	"github.com/mvm-project/mvm/kernel"
)

// options are what one run is made with.
type options struct {
	Rounds, Memory int    // Memory in MiB
	QEMU, Bin      string // Bin is where mvm is; no QEMU: nothing to compare with
	Root           string // MVM_ROOT
	PVM            bool   // the host's KVM is a kvm-pvm
	Kernel, Initrd string // files in Root
}

// Names of the figures.
const (
	qemuPID1   = "QEMU microvm: exec to PID 1"
	qemuExit   = "QEMU microvm: exec to exit"
	vmmRun     = "vmm: start to first guest instruction"
	vmmPID1    = "vmm: start to PID 1"
	vmmExit    = "vmm: start to exit"
	vmmProcess = "vmm: process exec to exit"
	mvmExit    = "mvm run u-root true: exec to exit"
	mvmFirst   = "mvm run u-root echo: exec to the container's first byte"
	mvmEnd     = "mvm run u-root echo: first byte to exit"
	mvmExec    = "mvm exec CONTAINER true: exec to exit"
	mvmMemory  = "mvm-vmm: own memory (PSS without guest RAM)"
	qemuMemory = "QEMU microvm: own memory (PSS without guest RAM)"
)

// measure takes what is named, or everything.
func measure(o options, parts []string) (*report, error) {
	wanted := func(part string) bool { return len(parts) == 0 || slices.Contains(parts, part) }
	if err := o.begin(); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(o.Root) }()
	r := &report{}
	var err error
	if wanted("boot") {
		err = measureBoots(o, r)
	}
	if err == nil && wanted("guest") {
		err = measureGuest(o, r)
	}
	if err == nil && wanted("rates") {
		r.Rates, err = measureRates(o)
	}
	if err == nil && wanted("io") {
		r.IO, err = measureIO(o)
	}
	if err == nil && slices.Contains(parts, "noise") { // has a target of its own
		r.Noise, err = measureNoise(o)
	}
	return r, err
}

// measureBoots takes rounds of every figure of a VM's life, in turns.
func measureBoots(o options, r *report) error {
	steps := []step{o.vmmBoot, o.mvmTrue, o.mvmEcho, o.mvmExec, o.mvmMemory}
	if o.QEMU != "" {
		steps = append([]step{o.qemuBoot}, steps...)
	}
	for range o.Rounds {
		for _, f := range steps {
			if err := r.take(o, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin makes a folder of mvm's for this run, which the caller removes.
func (o *options) begin() error {
	root, err := os.MkdirTemp("", "mvm-bench")
	if err != nil {
		return err
	}
	o.Root = root
	if err := errors.Join(os.Setenv("MVM_ROOT", root), o.prepare(root)); err != nil {
		return errors.Join(err, os.RemoveAll(root))
	}
	return nil
}

// step takes one sample of some figures; it ends with ctx.
type step func(ctx context.Context, r *report) error

const (
	// hung is far above what any run takes. On the virtual KVM host QEMU now and
	// then loses a wake-up of a halted guest, which then sleeps for ever.
	hung = time.Minute
	// hungInterpreted is that where a guest's ring 0 is interpreted: a run takes 20 s.
	hungInterpreted = 5 * time.Minute
	// mostHung is how many runs may hang before that is the result.
	mostHung = 5
)

// take takes one sample, and again where it hung, which it counts.
func (r *report) take(o options, f step) error {
	limit := hung
	if o.PVM {
		limit = hungInterpreted
	}
	for {
		if err := touchMemory(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := f(ctx, r)
		over := ctx.Err()
		cancel()
		if over == nil {
			return err
		}
		if r.Hung++; r.Hung > mostHung {
			return fmt.Errorf("%d runs hung: %w", r.Hung, err)
		}
	}
}

// prepare runs mvm once, which writes the kernel, the initramfs and the image to
// root, and finds the first two there.
func (o *options) prepare(root string) error {
	if out, err := o.mvm(context.Background(), nil, "true").CombinedOutput(); err != nil {
		return fmt.Errorf("mvm run u-root true: %w: %s", err, out)
	}
	flavour := kernel.KVM
	if o.PVM {
		flavour = kernel.PVM
	}
	for pattern, to := range map[string]*string{"kernel/*/" + flavour + "/vmlinux": &o.Kernel, "initramfs/*/initramfs.cpio": &o.Initrd} {
		m, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("%s in %s: %w", pattern, root, err)
		}
		if len(m) != 1 {
			return fmt.Errorf("%s in %s: %d files, 1 expected", pattern, root, len(m))
		}
		*to = m[0]
	}
	return nil
}

// mvm runs a command in a container of the default image, with further flags.
func (o *options) mvm(ctx context.Context, flags []string, command ...string) *exec.Cmd {
	args := slices.Concat([]string{"run", "--rm", "--memory", fmt.Sprintf("%dm", o.Memory)}, flags, []string{"u-root"}, command)
	return exec.CommandContext(ctx, filepath.Join(o.Bin, "mvm"), args...)
}

// run runs cmd, and returns when its first byte of output came and when it
// ended, counted from its start. onFirst, if any, is called at the first byte.
func run(cmd *exec.Cmd, onFirst func(pid int)) (first, end time.Duration, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	br := bufio.NewReader(out)
	if _, err := br.Peek(1); err == nil {
		first = time.Since(start)
		if onFirst != nil {
			onFirst(cmd.Process.Pid)
		}
	}
	_, _ = io.Copy(io.Discard, br)
	err = cmd.Wait()
	return first, time.Since(start), err
}

// guest is what both VMMs boot: without disks, interface or vsock.
func (o *options) guest() guest {
	return guest{kernel: o.Kernel, initrd: o.Initrd, memory: o.Memory}
}

// qemuBoot boots the guest to guestinit and its reset.
func (o *options) qemuBoot(ctx context.Context, r *report) error {
	cmd, err := o.guest().onQEMU(ctx, *o)
	if err != nil {
		return err
	}
	first, end, err := run(cmd, func(pid int) {
		if kib, err := ownMemory(pid, *o); err == nil {
			r.add(qemuMemory, "KiB", kib)
		}
	})
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	r.time(qemuPID1, first)
	r.time(qemuExit, end)
	return nil
}

// vmmBoot does the same with package vmm in a process of its own.
func (o *options) vmmBoot(ctx context.Context, r *report) error {
	cmd, err := o.guest().onVMM(ctx, *o)
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("vmm: %w", err)
	}
	end := time.Since(start)
	var marks marks
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &marks); err != nil {
		return err
	}
	r.time(vmmRun, marks.Run)
	r.time(vmmPID1, marks.PID1)
	r.time(vmmExit, marks.Exit)
	r.time(vmmProcess, end)
	return nil
}

// mvmTrue is the whole command on a cached image.
func (o *options) mvmTrue(ctx context.Context, r *report) error {
	_, end, err := run(o.mvm(ctx, nil, "true"), nil)
	if err != nil {
		return fmt.Errorf("mvm run u-root true: %w", err)
	}
	r.time(mvmExit, end)
	return nil
}

// mvmEcho is the time to the container's first byte, and from its end (echo ends
// with its only write) to the command's exit.
func (o *options) mvmEcho(ctx context.Context, r *report) error {
	first, end, err := run(o.mvm(ctx, nil, "echo", "x"), nil)
	if err != nil {
		return fmt.Errorf("mvm run u-root echo: %w", err)
	}
	r.time(mvmFirst, first)
	r.time(mvmEnd, end-first)
	return nil
}

// mvmExec is the round trip of a further process, in a container that has run one
// before: its files are in the guest's memory.
func (o *options) mvmExec(ctx context.Context, r *report) (err error) {
	const name = "bench"
	up := o.mvm(ctx, []string{"-d", "--name", name}, "sleep", "1000")
	if out, err := up.CombinedOutput(); err != nil {
		return fmt.Errorf("mvm run -d u-root: %w: %s", err, out)
	}
	defer func() {
		down := exec.CommandContext(context.WithoutCancel(ctx), up.Path, "rm", "--force", name)
		err = errors.Join(err, down.Run())
	}()
	for _, sample := range []bool{false, true} {
		_, end, err := run(exec.CommandContext(ctx, up.Path, "exec", name, "true"), nil)
		if err != nil {
			return fmt.Errorf("mvm exec: %w", err)
		}
		if sample {
			r.time(mvmExec, end)
		}
	}
	return nil
}

// mvmMemory is the memory of mvm-vmm while a container runs.
func (o *options) mvmMemory(ctx context.Context, r *report) error {
	cmd := o.mvm(ctx, []string{"-i"}, "sh", "-c", "echo x; cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var sampled error
	_, _, err = run(cmd, func(pid int) {
		vmm, err := child(pid, "mvm-vmm")
		if err == nil {
			var kib float64
			if kib, err = ownMemory(vmm, *o); err == nil {
				r.add(mvmMemory, "KiB", kib)
			}
		}
		sampled = err
		_ = stdin.Close()
	})
	return errors.Join(err, sampled)
}
