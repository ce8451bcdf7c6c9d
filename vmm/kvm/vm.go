package kvm

import (
	"fmt"
	"os"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// VM is a VM's file descriptor.
type VM struct {
	f       *os.File
	runSize int // of a vCPU's run pages
}

// Close drops the VM. The kernel frees it when its vCPUs are closed too.
func (v *VM) Close() error { return v.f.Close() }

// SetTSSAddr names three pages of guest-physical space, below 4 GiB and used by
// nothing else, that VMX needs for real mode; elsewhere it does nothing.
func (v *VM) SetTSSAddr(gpa uint32) error {
	if _, err := call(v.f, gokvm.IIO(nrSetTSSAddr), uintptr(gpa)); err != nil {
		return fmt.Errorf("KVM_SET_TSS_ADDR %#x: %w", gpa, err)
	}
	return nil
}

// SetIdentityMapAddr names one more such page. It must come before any vCPU.
func (v *VM) SetIdentityMapAddr(gpa uint64) error {
	if err := callPtr(v.f, gokvm.IIOW(nrSetIdentityMapAddr, 8), &gpa); err != nil {
		return fmt.Errorf("KVM_SET_IDENTITY_MAP_ADDR %#x: %w", gpa, err)
	}
	return nil
}

// enableCap is struct kvm_enable_cap.
type enableCap struct {
	capability, _ uint32
	args          [4]uint64
	_             [64]byte
}

// SplitIRQChip puts each vCPU's local APIC into the kernel, and no other interrupt
// chip: interrupts come to them by SignalMSI. It must come before any vCPU.
func (v *VM) SplitIRQChip() error { return v.EnableCap(capSplitIRQChip, 0) }

// EnableCap switches a capability of the VM on (KVM_CHECK_EXTENSION numbers them
// all; only some are to be switched on).
func (v *VM) EnableCap(capability uint32, arg uint64) error {
	c := enableCap{capability: capability, args: [4]uint64{arg}}
	if err := callPtr(v.f, gokvm.IIOW(nrEnableCap, sizeOf[enableCap]()), &c); err != nil {
		return fmt.Errorf("KVM_ENABLE_CAP %d: %w", capability, err)
	}
	return nil
}

// SetMemory makes ram the guest's memory at gpa. ram is a page-aligned mapping
// that outlives the VM.
func (v *VM) SetMemory(slot uint32, gpa uint64, ram []byte) error {
	r := gokvm.UserspaceMemoryRegion{
		Slot:          slot,
		GuestPhysAddr: gpa,
		MemorySize:    uint64(len(ram)),
		UserspaceAddr: address(ram),
	}
	if err := callPtr(v.f, gokvm.IIOW(nrSetUserMemoryRegion, sizeOf[gokvm.UserspaceMemoryRegion]()), &r); err != nil {
		return fmt.Errorf("KVM_SET_USER_MEMORY_REGION of %d bytes at %#x: %w", len(ram), gpa, err)
	}
	return nil
}

// msi is struct kvm_msi.
type msi struct {
	address, _, data, _ uint32
	_                   [16]byte
}

// SignalMSI delivers a message to the local APICs it names. The call does not
// sleep, so the goroutine keeps its P. It fails where no APIC has that name.
func (v *VM) SignalMSI(address, data uint32) error {
	m := msi{address: address, data: data}
	if err := callPtrHolding(v.f, gokvm.IIOW(nrSignalMSI, sizeOf[msi]()), &m); err != nil {
		return fmt.Errorf("KVM_SIGNAL_MSI %#x to %#x: %w", data, address, err)
	}
	return nil
}

// ioeventfd is struct kvm_ioeventfd.
type ioeventfd struct {
	datamatch, addr uint64
	length          uint32
	fd              int32
	flags           uint32
	_               [36]byte
}

const ioeventfdDatamatch = 1 // KVM_IOEVENTFD_FLAG_DATAMATCH

// IOEventFD makes a guest's write of the value match, length bytes long, to the
// address gpa a write to e, without an exit.
func (v *VM) IOEventFD(gpa uint64, length uint32, match uint64, e *os.File) error {
	a := ioeventfd{datamatch: match, addr: gpa, length: length, flags: ioeventfdDatamatch}
	err := withFD(e, func(fd uintptr) error {
		a.fd = int32(fd)
		return callPtr(v.f, gokvm.IIOW(nrIOEventFD, sizeOf[ioeventfd]()), &a)
	})
	if err != nil {
		return fmt.Errorf("KVM_IOEVENTFD at %#x: %w", gpa, err)
	}
	return nil
}

// withFD lends f's descriptor without taking f from the netpoller, as Fd would.
func withFD(f *os.File, use func(fd uintptr) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = use(fd) }); err != nil {
		return err
	}
	return inner
}

// CreateVCPU makes vCPU number id, which is also its APIC ID.
func (v *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := call(v.f, gokvm.IIO(nrCreateVCPU), uintptr(id))
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VCPU %d: %w", id, err)
	}
	f := os.NewFile(fd, "kvm-vcpu")
	pages, err := unix.Mmap(int(fd), 0, v.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map the run pages of vCPU %d: %w", id, err)
	}
	return &VCPU{f: f, pages: pages, run: runPage(pages)}, nil
}
