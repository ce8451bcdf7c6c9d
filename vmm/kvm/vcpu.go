package kvm

import (
	"errors"
	"fmt"
	"os"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// VCPU is a vCPU's file descriptor and the pages it shares with KVM. Its methods
// but SetImmediateExit are for one thread.
type VCPU struct {
	f     *os.File
	pages []byte
	run   *run // the start of pages
}

// Close unmaps the run pages and closes the vCPU, which must not be running.
func (c *VCPU) Close() error {
	c.run = nil
	return errors.Join(unix.Munmap(c.pages), c.f.Close())
}

// Run enters the guest until an exit, whose reason Reason gives. The error is a
// bare errno: EINTR after a signal or with immediate exit set.
func (c *VCPU) Run() error {
	_, err := call(c.f, gokvm.IIO(nrRun), 0)
	return err
}

// RunHolding is Run for a guest that is about to exit again: the Go scheduler takes
// it for a computation, and leaves the goroutine its P. A guest that does not exit
// is interrupted by the Go runtime after some 10 ms, or when that wants the world
// to stop: EINTR, after which Run is the call to go on with.
func (c *VCPU) RunHolding() error {
	_, err := callHolding(c.f, gokvm.IIO(nrRun), 0)
	return err
}

// Regs gives the general registers.
func (c *VCPU) Regs() (gokvm.Regs, error) {
	var r gokvm.Regs
	err := callPtr(c.f, gokvm.IIOR(nrGetRegs, sizeOf[gokvm.Regs]()), &r)
	return r, wrap("KVM_GET_REGS", err)
}

// SetRegs sets the general registers.
func (c *VCPU) SetRegs(r gokvm.Regs) error {
	return wrap("KVM_SET_REGS", callPtr(c.f, gokvm.IIOW(nrSetRegs, sizeOf[gokvm.Regs]()), &r))
}

// Sregs gives the segment, control and APIC base registers.
func (c *VCPU) Sregs() (gokvm.Sregs, error) {
	var r gokvm.Sregs
	err := callPtr(c.f, gokvm.IIOR(nrGetSregs, sizeOf[gokvm.Sregs]()), &r)
	return r, wrap("KVM_GET_SREGS", err)
}

// SetSregs sets the segment, control and APIC base registers.
func (c *VCPU) SetSregs(r gokvm.Sregs) error {
	return wrap("KVM_SET_SREGS", callPtr(c.f, gokvm.IIOW(nrSetSregs, sizeOf[gokvm.Sregs]()), &r))
}

// SetCPUID sets what the guest's cpuid instruction returns, before the first Run.
func (c *VCPU) SetCPUID(entries []gokvm.CPUIDEntry2) error {
	var a cpuid
	a.n = uint32(copy(a.entries[:], entries))
	return wrap("KVM_SET_CPUID2", callPtr(c.f, gokvm.IIOW(nrSetCPUID2, 8), &a))
}

// TSCKHz is the frequency of the guest's time-stamp counter in kHz.
func (c *VCPU) TSCKHz() (int, error) {
	v, err := call(c.f, gokvm.IIO(nrGetTSCKHz), 0)
	return int(v), wrap("KVM_GET_TSC_KHZ", err)
}

// translation is struct kvm_translation.
type translation struct {
	linear, physical uint64
	valid            uint8
	_                [7]uint8 // writeable, usermode
}

// Translate gives the GPA of a linear address under the vCPU's page tables.
func (c *VCPU) Translate(linear uint64) (gpa uint64, ok bool) {
	t := translation{linear: linear}
	err := callPtr(c.f, gokvm.IIOWR(nrTranslate, sizeOf[translation]()), &t)
	return t.physical, err == nil && t.valid != 0
}

func wrap(op string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}
