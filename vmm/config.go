// Package vmm runs one microVM on KVM: it puts memory, vCPUs, devices and a
// kernel together and carries them from boot to power-off.
package vmm

// Config describes a microVM.
type Config struct {
	// Kernel and Initrd are files: an ELF vmlinux or a bzImage, and an initramfs.
	Kernel, Initrd string
	// Args are further words of the kernel's command line.
	Args []string `json:",omitempty"`
	// VCPUs is how many vCPUs there are, at least 1.
	VCPUs int
	// Memory is the guest's RAM in bytes, a multiple of the page size.
	Memory int64
	// Disks become /dev/vda, /dev/vdb and so on.
	Disks []Disk `json:",omitempty"`
	// Vsock is the path of the Unix socket for connections from host to guest;
	// a guest's connection to host port P goes to the socket Vsock_P. Empty: no
	// vsock device.
	Vsock string `json:",omitempty"`
}

// Disk is a raw disk image.
type Disk struct {
	Path     string
	ReadOnly bool `json:",omitempty"`
}
