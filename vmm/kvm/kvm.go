// Package kvm makes the ioctls of /dev/kvm and nothing else. Types and ioctl
// numbers are gokvm's where it has them right; the calls are our own, because a
// pointer must become a uintptr in the call itself, and because EINTR belongs to
// the caller (see Documentation/virt/kvm/api.rst for each call).
package kvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// Path is the device every VM begins with.
const Path = "/dev/kvm"

// KickSignal takes a thread out of KVM_RUN. It is the one the Go runtime itself
// sends to preempt a goroutine and whose handler does nothing else, so it needs
// no handler of ours; a Run that a preemption ends returns EINTR all the same.
const KickSignal = unix.SIGURG

const (
	apiVersion = 12 // KVM_API_VERSION, stable since Linux 2.6.22

	nrCreateVM            = 0x01
	nrGetAPIVersion       = 0x00
	nrCheckExtension      = 0x03
	nrGetVCPUMmapSize     = 0x04
	nrGetSupportedCPUID   = 0x05
	nrCreateVCPU          = 0x41
	nrSetUserMemoryRegion = 0x46
	nrSetTSSAddr          = 0x47
	nrSetIdentityMapAddr  = 0x48
	nrIOEventFD           = 0x79
	nrRun                 = 0x80
	nrGetRegs             = 0x81
	nrSetRegs             = 0x82
	nrGetSregs            = 0x83
	nrSetSregs            = 0x84
	nrTranslate           = 0x85
	nrSetCPUID2           = 0x90
	nrGetVCPUEvents       = 0x9f
	nrSetVCPUEvents       = 0xa0
	nrEnableCap           = 0xa3 // of a VM
	nrGetTSCKHz           = 0xa3 // of a vCPU
	nrGetXSave            = 0xa4
	nrSignalMSI           = 0xa5
	nrSetXSave            = 0xa5
	nrGetXCRs             = 0xa6
)

const capSplitIRQChip = 121 // KVM_CAP_SPLIT_IRQCHIP

// System is an open /dev/kvm.
type System struct {
	f *os.File
}

// Open opens /dev/kvm; the error says what to do about it.
func Open() (*System, error) {
	f, err := os.OpenFile(Path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, advice(err))
	}
	s := &System{f}
	v, err := call(f, gokvm.IIO(nrGetAPIVersion), 0)
	if err == nil && v != apiVersion {
		err = fmt.Errorf("version %d where %d is needed", v, apiVersion)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s does not speak KVM's API: %w", Path, err)
	}
	return s, nil
}

// advice is the way out of a failed open of /dev/kvm.
func advice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "load the module (modprobe kvm-intel or kvm-amd), and in a virtual machine ask for nested virtualisation"
	case errors.Is(err, fs.ErrPermission):
		return "join the group that owns it (usermod -aG kvm USER, then log in again) or run as root"
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "the processor's virtualisation is switched off in the firmware, or another hypervisor holds it"
	}
	return "see mvm doctor"
}

// Close closes /dev/kvm; VMs made from it live on.
func (s *System) Close() error { return s.f.Close() }

// Extension is the value of a KVM capability, 0 where it is missing.
func (s *System) Extension(capability uintptr) (int, error) {
	v, err := call(s.f, gokvm.IIO(nrCheckExtension), capability)
	if err != nil {
		return 0, fmt.Errorf("KVM_CHECK_EXTENSION %d: %w", capability, err)
	}
	return int(v), nil
}

// maxCPUID is how many CPUID entries KVM_GET_SUPPORTED_CPUID may return, KVM's
// own KVM_MAX_CPUID_ENTRIES.
const maxCPUID = 256

// cpuid is struct kvm_cpuid2 with room for all entries.
type cpuid struct {
	n, _    uint32
	entries [maxCPUID]gokvm.CPUIDEntry2
}

// SupportedCPUID is what KVM and the processor can show a guest.
func (s *System) SupportedCPUID() ([]gokvm.CPUIDEntry2, error) {
	c := cpuid{n: maxCPUID}
	if err := callPtr(s.f, gokvm.IIOWR(nrGetSupportedCPUID, 8), &c); err != nil {
		return nil, fmt.Errorf("KVM_GET_SUPPORTED_CPUID: %w", err)
	}
	return c.entries[:c.n:c.n], nil
}

// CreateVM makes a VM without memory, vCPUs or devices.
func (s *System) CreateVM() (*VM, error) {
	fd, err := call(s.f, gokvm.IIO(nrCreateVM), 0)
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VM: %w", err)
	}
	size, err := call(s.f, gokvm.IIO(nrGetVCPUMmapSize), 0)
	if err != nil {
		_ = unix.Close(int(fd))
		return nil, fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %w", err)
	}
	return &VM{f: os.NewFile(fd, "kvm-vm"), runSize: int(size)}, nil
}
