package vmm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	nic "github.com/mvm-project/mvm/devices/net"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/ratelimit"
)

// NIC is a network interface, with TAP or else FD at its other end.
type NIC struct {
	MAC [6]byte
	// MTU in bytes; 0: 1500.
	MTU uint16 `json:",omitempty"`
	// TAP is the name of a TAP device of the host's.
	TAP string `json:",omitempty"`
	// FD is a file descriptor of this process's, which stays open: a socket that
	// keeps messages apart, each of them a frame; or, with TAP, one that is attached to
	// that device.
	FD int `json:",omitempty"`
	// RX limits what the guest receives, TX what it sends.
	RX, TX ratelimit.Limits
}

// nic opens a network interface.
func (v *VM) nic(n NIC) (virtio.Device, error) {
	link, err := n.open()
	if err != nil {
		return nil, err
	}
	v.onClose(link.Close)
	rx, tx := ratelimit.New(n.RX), ratelimit.New(n.TX)
	v.limiters.rx, v.limiters.tx = append(v.limiters.rx, rx), append(v.limiters.tx, tx)
	return nic.New(link, nic.Config{MAC: n.MAC, MTU: n.MTU, RX: rx, TX: tx}), nil
}

func (n NIC) open() (*nic.Link, error) {
	if n.TAP != "" && n.FD == 0 {
		// A new one would lead nowhere.
		if !nic.Exists(n.TAP) {
			return nil, fmt.Errorf("this host has no TAP device %s: make it first (ip tuntap add %[1]s mode tap)", n.TAP)
		}
		return nic.OpenTAP(n.TAP)
	}
	// A copy, which goes with the VM: the next one takes another.
	fd, err := unix.FcntlInt(uintptr(n.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("network interface on file descriptor %d: %w", n.FD, err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("link %d", n.FD))
	from := nic.FromFile
	if n.TAP != "" {
		from = nic.FromTAP
	}
	link, err := from(f)
	if err != nil {
		f.Close()
	}
	return link, err
}
