package usernet

import (
	"net/netip"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// destination is where a packet to addr leads on the host, if anywhere. What is
// the host's alone is not to be had: its loopback, unless the user opened that by
// the gateway's address, and link-local addresses, which no router passes on (RFC
// 3927, 7) and where clouds keep their machines' credentials.
func (n *Network) destination(addr netip.Addr) (netip.Addr, bool) {
	addr = addr.Unmap()
	switch {
	case n.cfg.Kind == hostnet.Bridge:
		return addr, false // it has the host's kernel for that
	case addr == n.gateway4:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), n.cfg.HostLoopback
	case addr == n.gateway6:
		return netip.IPv6Loopback(), n.cfg.HostLoopback
	case n.cfg.Addr.Masked().Contains(addr), netip.PrefixFrom(n.gateway6, 64).Contains(addr):
		return addr, false // nobody else is there
	}
	return addr, public(addr)
}

// public says whether an address may be another host's.
func public(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" || !addr.IsGlobalUnicast() {
		return false // unspecified, loopback, multicast, link-local, broadcast
	}
	if addr.Is4() {
		first := addr.As4()[0]
		return first != 0 && first < 240 // "this network", which is the host itself; reserved
	}
	// Where AWS has its machines' metadata, besides 169.254.169.254.
	return addr != netip.MustParseAddr("fd00:ec2::254")
}
