package pvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/vmm/kvm"
	"github.com/mvm-project/mvm/vmm/memory"
)

// Detect says whether this host's KVM is a kvm-pvm: whether it interprets a
// guest's ring 0. A host with only kvm-intel or kvm-amd is told by sysfs that it
// does not; any other is asked to run an instruction that the interpreter lacks.
func Detect(sys fs.FS) (bool, error) {
	if loaded(sys, "kvm_intel", "kvm_amd") && !loaded(sys, "kvm_pvm") {
		return false, nil
	}
	interpreted, err := probe()
	if err != nil {
		return false, fmt.Errorf("find out what kind of KVM this host has: %w", err)
	}
	return interpreted, nil
}

// loaded says whether any of the modules is there, as sysfs tells it.
func loaded(sys fs.FS, modules ...string) bool {
	for _, m := range modules {
		if _, err := fs.Stat(sys, "module/"+m); err == nil {
			return true
		}
	}
	return false
}

// The probe's guest: 64-bit code in ring 0 of 32 KiB, the first 2 MiB of which
// are mapped one to one.
const (
	probeMemory = 0x8000
	probePML4   = 0x1000
	probePDPT   = 0x2000
	probePD     = 0x3000
	probeCode   = 0x4000
	probePort   = 0xf4
)

// probe runs `fwait; out %al, $probePort` in a VM of its own. A processor does
// the first and KVM exits for the second; an interpreter already gives up at the
// first.
func probe() (interpreted bool, err error) {
	runtime.LockOSThread() // KVM binds a vCPU to a thread
	defer runtime.UnlockOSThread()
	sys, err := kvm.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sys.Close()) }()
	ram, err := memory.New(probeMemory)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, ram.Close()) }()
	vm, err := sys.CreateVM()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	cpu, err := probeCPU(vm, ram)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, cpu.Close()) }()
	return runProbe(cpu)
}

// runProbe runs the guest to its first exit.
func runProbe(cpu *kvm.VCPU) (interpreted bool, err error) {
	for {
		err := cpu.Run()
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue // a signal of the Go runtime
		}
		if err != nil {
			return false, fmt.Errorf("KVM_RUN: %w", err)
		}
		break
	}
	switch reason := cpu.Reason(); reason {
	case kvm.ExitIO:
		return false, nil
	case kvm.ExitInternalError:
		if suberror, _ := cpu.InternalError(); suberror == kvm.SuberrorEmulation {
			return true, nil
		}
		return false, fmt.Errorf("an instruction that every processor has ends in %v", reason)
	default:
		return false, fmt.Errorf("an instruction that every processor has ends in %v", reason)
	}
}

// probeCPU puts the guest into RAM and makes its vCPU.
func probeCPU(vm *kvm.VM, ram *memory.RAM) (*kvm.VCPU, error) {
	b := ram.Regions()[0].Data
	le := binary.LittleEndian
	le.PutUint64(b[probePML4:], probePDPT|ptePresent|pteWritable)
	le.PutUint64(b[probePDPT:], probePD|ptePresent|pteWritable)
	le.PutUint64(b[probePD:], ptePresent|pteWritable|pteHuge)
	copy(b[probeCode:], []byte{0x9b, 0xe6, probePort})
	if err := errors.Join(vm.SetTSSAddr(probeTSS), vm.SetMemory(0, 0, b)); err != nil {
		return nil, err
	}
	cpu, err := vm.CreateVCPU(0)
	if err != nil {
		return nil, err
	}
	if err := probeRegisters(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return cpu, nil
}

// probeTSS is what SetTSSAddr wants: unused space below 4 GiB.
const probeTSS = 0xfffb_d000

// probeRegisters put the vCPU into 64-bit mode at the guest's code.
func probeRegisters(cpu *kvm.VCPU) error {
	s, err := cpu.Sregs()
	if err != nil {
		return err
	}
	data := gokvm.Segment{Limit: 0xffff_ffff, Selector: 0x10, Typ: 3, Present: 1, S: 1, DB: 1, G: 1}
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.CS = gokvm.Segment{Limit: 0xffff_ffff, Selector: 8, Typ: 11, Present: 1, S: 1, L: 1, G: 1}
	const pe, pg, pae, lme = 1 << 0, 1 << 31, 1 << 5, 1 << 8
	s.CR0 |= pe | pg
	s.CR3 = probePML4
	s.CR4 |= pae
	s.EFER |= lme | eferLMA
	return errors.Join(cpu.SetSregs(s), cpu.SetRegs(gokvm.Regs{RIP: probeCode, RFLAGS: 2}))
}
