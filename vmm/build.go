package vmm

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mvm-project/mvm/vmm/boot"
	"github.com/mvm-project/mvm/vmm/kvm"
	"github.com/mvm-project/mvm/vmm/memory"
	"github.com/mvm-project/mvm/vmm/pvm"
)

// Pages that KVM itself wants below 4 GiB on processors with VMX: in the hole,
// where no RAM and no device is.
const (
	tssAddr         = 0xfffb_d000
	identityMapAddr = 0xfffb_c000
)

// KVM capabilities looked at (include/uapi/linux/kvm.h).
const (
	capMaxVCPUs         = 66
	capTSCDeadlineTimer = 72
)

// build makes the VM, from /dev/kvm to the registers of its first vCPU.
func (v *VM) build(cfg Config, console io.Writer) error {
	sys, err := kvm.Open()
	if err != nil {
		return err
	}
	defer func() { _ = sys.Close() }()
	if err := v.checkVCPUs(sys, cfg.VCPUs); err != nil {
		return err
	}
	if err := v.createVM(sys, cfg); err != nil {
		return err
	}
	if err := v.createVCPUs(sys, cfg); err != nil {
		return err
	}
	devs, err := v.devices(cfg)
	if err != nil {
		return err
	}
	lines := virtioGSI + len(devs)
	if err := v.addIOAPIC(lines); err != nil {
		return err
	}
	if err := v.addLegacy(console); err != nil {
		return err
	}
	for i, d := range devs {
		if err := v.addVirtio(slotOf(i), d); err != nil {
			return err
		}
	}
	if cfg.PVM {
		khz, err := v.cpus[0].fd.TSCKHz()
		if err != nil {
			return err
		}
		cfg.Args = append(pvm.Args(khz), cfg.Args...)
	}
	return v.load(cfg, cmdline(cfg, len(devs)), lines)
}

func (v *VM) checkVCPUs(sys *kvm.System, n int) error {
	limit, err := sys.Extension(capMaxVCPUs)
	if err != nil {
		return err
	}
	if limit = min(limit, boot.MaxVCPUs); n > limit {
		return fmt.Errorf("%d vCPUs: this host's KVM allows at most %d in a VM", n, limit)
	}
	return nil
}

func (v *VM) createVM(sys *kvm.System, cfg Config) error {
	var err error
	if v.mem, err = memory.New(cfg.Memory); err != nil {
		return err
	}
	v.onClose(v.mem.Close)
	if v.vm, err = sys.CreateVM(); err != nil {
		return err
	}
	v.onClose(v.vm.Close)
	if cfg.PVM {
		if err := pvm.Prepare(v.vm); err != nil {
			return err
		}
	}
	for i, r := range v.mem.Regions() {
		if err := v.vm.SetMemory(uint32(i), r.GPA, r.Data); err != nil {
			return err
		}
	}
	return errors.Join(v.vm.SetTSSAddr(tssAddr), v.vm.SetIdentityMapAddr(identityMapAddr), v.vm.SplitIRQChip())
}

// createVCPUs makes the vCPUs. Only the first is ever given an entry state: the
// others wait for the guest to start them (INIT and SIPI).
func (v *VM) createVCPUs(sys *kvm.System, cfg Config) error {
	supported, err := sys.SupportedCPUID()
	if err != nil {
		return err
	}
	deadline, err := sys.Extension(capTSCDeadlineTimer)
	if err != nil {
		return err
	}
	if cfg.PVM {
		supported = pvm.CPUID(supported)
	}
	for id := range cfg.VCPUs {
		fd, err := v.vm.CreateVCPU(id)
		if err != nil {
			return err
		}
		v.onClose(fd.Close)
		if err := fd.SetCPUID(boot.CPUID(supported, id, cfg.VCPUs, deadline > 0)); err != nil {
			return err
		}
		c := &vcpu{id: id, fd: fd, vm: v}
		if cfg.PVM {
			c.pvm = pvm.New(fd, v.mem, supported)
		}
		v.cpus = append(v.cpus, c)
	}
	return nil
}

// file is a kernel or an initramfs on disk.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }

func open(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return file{}, err
	}
	return file{f, fi.Size()}, nil
}

// load puts the kernel, the initramfs, args and a table of so many interrupt lines
// into memory and the first vCPU at the kernel's entry.
func (v *VM) load(cfg Config, args string, lines int) error {
	k, err := open(cfg.Kernel)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	defer k.Close()
	c := boot.Config{Kernel: k, Cmdline: args, VCPUs: cfg.VCPUs, Lines: lines}
	if cfg.MapKernel {
		c.Map = func(gpa uint64, off int64, size int) error { return v.mem.Map(gpa, k.File, off, size) }
	}
	if cfg.Initrd != "" {
		i, err := open(cfg.Initrd)
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		defer i.Close()
		c.Initrd = i
	}
	for _, r := range v.mem.Regions() {
		c.RAM = append(c.RAM, boot.Range{GPA: r.GPA, Size: uint64(len(r.Data))})
	}
	entry, err := boot.Load(v.mem, c)
	if err != nil {
		return fmt.Errorf("boot %s: %w", cfg.Kernel, err)
	}
	first := v.cpus[0].fd
	sregs, err := first.Sregs()
	if err != nil {
		return err
	}
	return errors.Join(first.SetSregs(boot.Sregs(sregs)), first.SetRegs(boot.Regs(entry)))
}
