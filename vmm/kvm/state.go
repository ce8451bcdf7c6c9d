package kvm

import (
	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// XSave is a vCPU's floating-point and vector registers, in the layout of the
// xsave instruction's standard form (struct kvm_xsave; Intel SDM 1, 13.4).
type XSave [4096]byte

// XSave reads the floating-point and vector registers into x. A component that is
// in its initial state has that state's bytes, and its bit of XSTATE_BV clear.
func (c *VCPU) XSave(x *XSave) error {
	return wrap("KVM_GET_XSAVE", callPtr(c.f, gokvm.IIOR(nrGetXSave, sizeOf[XSave]()), x))
}

// SetXSave sets the floating-point and vector registers. A component whose bit
// of XSTATE_BV is clear gets its initial state.
func (c *VCPU) SetXSave(x *XSave) error {
	return wrap("KVM_SET_XSAVE", callPtr(c.f, gokvm.IIOW(nrSetXSave, sizeOf[XSave]()), x))
}

// XCR0 gives the extended control register that says which components of the
// XSAVE area are switched on.
func (c *VCPU) XCR0() (uint64, error) {
	var x gokvm.XCRS
	err := callPtr(c.f, gokvm.IIOR(nrGetXCRs, sizeOf[gokvm.XCRS]()), &x)
	if err != nil {
		return 0, wrap("KVM_GET_XCRS", err)
	}
	for _, r := range x.Registers[:min(x.NrXRCS, uint32(len(x.Registers)))] {
		if r.XRC == 0 {
			return r.Value, nil
		}
	}
	return 0, nil
}

// Exception is one for the guest to take.
type Exception struct {
	Vector uint8
	// Code is the error code of those vectors that have one.
	HasCode bool
	Code    uint32
}

// Inject makes the guest take an exception at its next entry, before it carries
// out an instruction. A page fault's address goes into CR2 apart.
func (c *VCPU) Inject(x Exception) error {
	var e gokvm.VCPUEvents
	if err := callPtr(c.f, gokvm.IIOR(nrGetVCPUEvents, sizeOf[gokvm.VCPUEvents]()), &e); err != nil {
		return wrap("KVM_GET_VCPU_EVENTS", err)
	}
	e.E = gokvm.Exception{Inject: 1, Nr: x.Vector, ErrorCode: x.Code}
	if x.HasCode {
		e.E.HadErrorCode = 1
	}
	return wrap("KVM_SET_VCPU_EVENTS", callPtr(c.f, gokvm.IIOW(nrSetVCPUEvents, sizeOf[gokvm.VCPUEvents]()), &e))
}
