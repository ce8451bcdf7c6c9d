package container

import (
	"encoding/hex"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/vmm"
)

// nics are the microVM's network interfaces: one, or none.
func nics(id string, n hostnet.Network, l vmm.Limits) []vmm.NIC {
	nic := vmm.NIC{MAC: n.MAC, MTU: n.MTU(), RX: l.RX, TX: l.TX}
	switch n.Kind {
	case hostnet.User:
		nic.FD = control.LinkFD
	case hostnet.TAP:
		nic.TAP = n.Device
	case hostnet.Bridge:
		nic.FD, nic.TAP = control.LinkFD, tapOf(id)
	default:
		return nil
	}
	return []vmm.NIC{nic}
}

// tapOf is the name of a container's TAP device: as long as one can be.
func tapOf(id string) string { return "mvm" + id }

// macOf makes an Ethernet address of a container's ID: no two on a bridge may have
// the same.
func macOf(id string) hostnet.MAC {
	var b [idBytes]byte
	_, _ = hex.Decode(b[:], []byte(id)) // an ID is just that
	return hostnet.MACOf(b)
}
