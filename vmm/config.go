// Package vmm runs one microVM on KVM: it puts memory, vCPUs, devices and a
// kernel together and carries them from boot to the guest's end.
package vmm

import (
	"errors"
	"fmt"
	"os"

	"github.com/mvm-project/mvm/ratelimit"
)

// GuestCID is the guest's vsock address. A VM has a network of its own, so one
// number serves all.
const GuestCID = 3

// Config describes a microVM.
type Config struct {
	// Kernel and Initrd are files: an ELF vmlinux or a bzImage, and an initramfs.
	Kernel, Initrd string
	// MapKernel says that Kernel never changes while the VM lives: its code is
	// mapped into the guest, which shares it with all others' until it writes
	// there, instead of being read.
	MapKernel bool `json:",omitempty"`
	// Args are further words of the kernel's command line.
	Args []string `json:",omitempty"`
	// Verbose lets the kernel print all its messages on the serial console.
	Verbose bool `json:",omitempty"`
	// PVM says that the host's KVM is a kvm-pvm (docs/kvm-pvm.md), for which the
	// kernel has to be made.
	PVM bool `json:",omitempty"`
	// VCPUs is how many vCPUs there are, at least 1.
	VCPUs int
	// Memory is the guest's RAM in bytes, a multiple of the page size.
	Memory int64
	// Disks become /dev/vda, /dev/vdb and so on.
	Disks []Disk `json:",omitempty"`
	// NICs become eth0, eth1 and so on.
	NICs []NIC `json:",omitempty"`
	// Entropy limits the random bytes the guest takes from the host.
	Entropy ratelimit.Limits
	// Vsock is the path of the Unix socket for connections from host to guest;
	// a guest's connection to host port P goes to the socket Vsock_P. Empty: no
	// vsock device.
	Vsock string `json:",omitempty"`
}

// Disk is a raw disk image.
type Disk struct {
	Path     string
	ReadOnly bool `json:",omitempty"`
	// Limits are on reads and writes together.
	Limits ratelimit.Limits
}

func (c Config) validate() error {
	page := int64(os.Getpagesize())
	switch {
	case c.Kernel == "":
		return errors.New("vmm: no kernel given")
	case c.VCPUs < 1:
		return fmt.Errorf("vmm: %d vCPUs: at least 1 is needed", c.VCPUs)
	case c.Memory <= 0 || c.Memory%page != 0:
		return fmt.Errorf("vmm: %d bytes of memory: not a positive multiple of %d", c.Memory, page)
	}
	return nil
}
