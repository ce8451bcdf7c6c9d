package pvm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"github.com/mvm-project/mvm/vmm/kvm"
)

// Args are the words of the kernel's command line that a guest needs here.
// tscKHz is the frequency of its time-stamp counter.
func Args(tscKHz int) []string {
	return []string{
		// What ring 0 must not use since the interpreter lacks it. It is hidden
		// from the kernel alone: programs run on the processor itself, and those
		// built for x86-64-v2 refuse to start without popcnt and cmpxchg16b.
		"clearcpuid=popcnt,cx16,smap,rdpid,invpcid,fsgsbase,clwb,clflushopt,rdseed,xsaves,xsavec,xsaveopt",
		// Calibration by counting is long, and wrong, at an interpreter's speed.
		fmt.Sprintf("tsc_early_khz=%d", tscKHz),
		// Anonymous memory comes by 16 to 64 KiB a page fault, each of which is dear.
		"thp_anon=16K-64K:always",
		// The initramfs stays: freeing it is work too.
		"retain_initrd",
		// Making data read-only or not executable splits large pages, at 0.1 s.
		"rodata=off",
	}
}

// capExitOnEmulationFailure is KVM_CAP_EXIT_ON_EMULATION_FAILURE (Linux 5.14):
// the exit then carries the instruction, and KVM queues no exception beside it.
const capExitOnEmulationFailure = 204

// Prepare sets a VM up that has no vCPU yet.
func Prepare(vm *kvm.VM) error { return vm.EnableCap(capExitOnEmulationFailure, 1) }

// Paravirtual features of KVM (Documentation/virt/kvm/x86/cpuid.rst).
const (
	leafKVMFeatures = 0x4000_0001

	featureAsyncPF       = 1 << 4
	featurePVUnhalt      = 1 << 7
	featureTLBFlush      = 1 << 9
	featureAsyncPFVMExit = 1 << 10
	featureSendIPI       = 1 << 11
	featureSchedYield    = 1 << 13
	featureAsyncPFInt    = 1 << 14
	featureMSIExtDestID  = 1 << 15

	// hidden lead to hypercalls, from which KVM_RUN does not return here, or go
	// with those that do.
	hidden = featureAsyncPF | featurePVUnhalt | featureTLBFlush | featureAsyncPFVMExit |
		featureSendIPI | featureSchedYield | featureAsyncPFInt | featureMSIExtDestID
)

// CPUID is what a guest is shown: what KVM supports without the features that
// hang it, and the paravirtual calls.
func CPUID(supported []gokvm.CPUIDEntry2) []gokvm.CPUIDEntry2 {
	out := make([]gokvm.CPUIDEntry2, 0, len(supported)+2)
	for _, e := range supported {
		if e.Function == leafKVMFeatures {
			e.Eax &^= hidden
		}
		out = append(out, e)
	}
	return append(out, callLeaves()...)
}
