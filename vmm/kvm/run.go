package kvm

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// run is the fixed part of struct kvm_run, which KVM and a vCPU's thread share.
type run struct {
	requestInterruptWindow uint8
	immediateExit          uint8
	_                      [6]uint8
	exitReason             uint32
	_                      [20]byte // interrupt readiness, flags, CR8, APIC base
	exit                   [256]byte
}

// Reason is why KVM_RUN returned.
type Reason uint32

// The exits a microVM can meet (include/uapi/linux/kvm.h).
const (
	ExitUnknown       Reason = 0
	ExitException     Reason = 1
	ExitIO            Reason = 2
	ExitHypercall     Reason = 3
	ExitDebug         Reason = 4
	ExitHLT           Reason = 5
	ExitMMIO          Reason = 6
	ExitIRQWindow     Reason = 7
	ExitShutdown      Reason = 8
	ExitFailEntry     Reason = 9
	ExitIntr          Reason = 10
	ExitNMI           Reason = 16
	ExitInternalError Reason = 17
	ExitSystemEvent   Reason = 24
)

func (r Reason) String() string {
	switch r {
	case ExitUnknown:
		return "KVM_EXIT_UNKNOWN"
	case ExitException:
		return "KVM_EXIT_EXCEPTION"
	case ExitIO:
		return "KVM_EXIT_IO"
	case ExitHypercall:
		return "KVM_EXIT_HYPERCALL"
	case ExitDebug:
		return "KVM_EXIT_DEBUG"
	case ExitHLT:
		return "KVM_EXIT_HLT"
	case ExitMMIO:
		return "KVM_EXIT_MMIO"
	case ExitIRQWindow:
		return "KVM_EXIT_IRQ_WINDOW_OPEN"
	case ExitShutdown:
		return "KVM_EXIT_SHUTDOWN"
	case ExitFailEntry:
		return "KVM_EXIT_FAIL_ENTRY"
	case ExitIntr:
		return "KVM_EXIT_INTR"
	case ExitNMI:
		return "KVM_EXIT_NMI"
	case ExitInternalError:
		return "KVM_EXIT_INTERNAL_ERROR"
	case ExitSystemEvent:
		return "KVM_EXIT_SYSTEM_EVENT"
	}
	return fmt.Sprintf("KVM exit %d", uint32(r))
}

// IO is a port access: Data holds the bytes written, or takes those read, Count
// accesses of Size bytes one after another. It aliases the vCPU's run pages.
type IO struct {
	In          bool
	Port        uint16
	Size, Count int
	Data        []byte
}

// MMIO is an access to an address that is no memory. Data, at most 8 bytes, holds
// the bytes written, or takes those read.
type MMIO struct {
	Addr  uint64
	Write bool
	Data  []byte
}

// Reason is why the last Run returned.
func (c *VCPU) Reason() Reason { return Reason(c.run.exitReason) }

// IO is the access of an ExitIO.
func (c *VCPU) IO() IO {
	e := c.run.exit[:]
	io := IO{
		In:    e[0] == 0,
		Size:  int(e[1]),
		Port:  binary.LittleEndian.Uint16(e[2:]),
		Count: int(binary.LittleEndian.Uint32(e[4:])),
	}
	off := binary.LittleEndian.Uint64(e[8:])
	io.Data = c.pages[off:][:io.Size*io.Count]
	return io
}

// MMIO is the access of an ExitMMIO.
func (c *VCPU) MMIO() MMIO {
	e := c.run.exit[:]
	return MMIO{
		Addr:  binary.LittleEndian.Uint64(e),
		Data:  e[8:16][:min(binary.LittleEndian.Uint32(e[16:]), 8)],
		Write: e[20] != 0,
	}
}

// Suberror is the kind of an ExitInternalError.
type Suberror uint32

func (s Suberror) String() string {
	switch s {
	case 1:
		return "emulation" // of an instruction, which KVM could not carry out
	case 2:
		return "simultaneous exceptions"
	case 3:
		return "delivery of an event"
	case 4:
		return "unexpected exit reason"
	}
	return "unknown"
}

// InternalError is what KVM tells of an ExitInternalError.
func (c *VCPU) InternalError() (suberror Suberror, data []uint64) {
	e := c.run.exit[:]
	for i := range min(binary.LittleEndian.Uint32(e[4:]), 16) {
		data = append(data, binary.LittleEndian.Uint64(e[8+8*i:]))
	}
	return Suberror(binary.LittleEndian.Uint32(e)), data
}

// SuberrorEmulation is the suberror of an instruction that KVM could not carry
// out (KVM_INTERNAL_ERROR_EMULATION).
const SuberrorEmulation = 1

// maxInstruction is the length of the longest x86 instruction, in bytes.
const maxInstruction = 15

// FailedInstruction is, after an ExitInternalError, the code at RIP as far as KVM
// read it, of an instruction that it could not carry out; nil if it was something
// else that failed. It aliases the vCPU's run pages.
func (c *VCPU) FailedInstruction() []byte {
	e := c.run.exit[:] // struct emulation_failure
	const hasBytes = 1 // KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES
	le := binary.LittleEndian
	if le.Uint32(e) != SuberrorEmulation || le.Uint32(e[4:]) < 3 || le.Uint64(e[8:])&hasBytes == 0 {
		return nil
	}
	return e[17:][:min(e[16], maxInstruction)]
}

// FailEntry is the processor's reason of an ExitFailEntry.
func (c *VCPU) FailEntry() uint64 { return binary.LittleEndian.Uint64(c.run.exit[:]) }

// SetImmediateExit makes the present or next Run return EINTR before it enters
// the guest (KVM_CAP_IMMEDIATE_EXIT), until it is cleared. Any thread may call it.
func (c *VCPU) SetImmediateExit(on bool) {
	// One byte of the word that begins struct kvm_run; the other seven are zero
	// and unused here, so that a store of the whole word is a store of this one.
	var w uint64
	if on {
		w = 1 << 8
	}
	atomic.StoreUint64(c.run.first(), w)
}
