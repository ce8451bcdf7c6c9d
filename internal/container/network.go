package container

import (
	"encoding/hex"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/vmm"
)

// nics are the microVM's network interfaces: one, or none.
func nics(n hostnet.Network, l vmm.Limits) []vmm.NIC {
	nic := vmm.NIC{MAC: n.MAC, MTU: n.MTU(), RX: l.RX, TX: l.TX}
	switch n.Kind {
	case hostnet.User:
		nic.FD = control.LinkFD
	case hostnet.TAP:
		nic.TAP = n.Device
	default:
		return nil
	}
	return []vmm.NIC{nic}
}

// macOf makes an Ethernet address of a container's ID: no two on a bridge may have
// the same.
func macOf(id string) hostnet.MAC {
	var b [idBytes]byte
	_, _ = hex.Decode(b[:], []byte(id)) // an ID is just that
	return hostnet.MACOf(b)
}
