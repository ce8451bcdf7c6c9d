package usernet

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// bridgeMTU is Ethernet's.
const bridgeMTU = 1500

// NewBridge returns what a container on a bridge needs beside the host's kernel: the
// name server at the gateway's address, and listeners on the ports it publishes, for
// clients on the host. Frames are messages on conn, which it takes over; they are
// the container's questions and nothing else. leases tells the names of the others.
func NewBridge(cfg hostnet.Network, conn io.ReadWriteCloser, leases fs.FS) (*Network, error) {
	if cfg.Kind != hostnet.Bridge || !cfg.Addr.IsValid() || !cfg.Gateway.Is4() {
		return nil, errors.New("usernet: not a network of kind bridge")
	}
	n := &Network{
		cfg: cfg, guest: cfg.Addr.Addr(), gateway4: cfg.Gateway,
		tcpSlots: make(chan struct{}, maxTCP), udpSlots: make(chan struct{}, maxUDP),
		dialer: net.Dialer{Timeout: dialTimeout}, dns: newResolver(cfg.Hosts),
	}
	n.dialTCP, n.dialUDP = n.dialBridge, n.dialBridgeUDP
	n.dns.others = others(leases)
	switch {
	case cfg.Joined.Internal:
		n.dns.servers = func() []netip.Addr { return nil }
	case len(cfg.Servers) > 0:
		n.dns.servers = func() []netip.Addr { return cfg.Servers }
	}
	n.link = newLink(conn, bridgeMTU)
	n.link.mac = tcpip.LinkAddress(cfg.Joined.GatewayMAC[:])
	n.pings = newPinger(n.link)
	err := n.newStack(n.gateway4)
	if err == nil { // what the container says of itself is not asked for
		err = joined(n.stack.AddStaticNeighbor(nicID, ipv4.ProtocolNumber, address(n.guest), tcpip.LinkAddress(cfg.MAC[:])))
	}
	if err == nil {
		err = n.publish()
	}
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// others finds the containers of a network by name. It reads the leases each time:
// they are few, and nobody tells when they change.
func others(leases fs.FS) func(name string) []netip.Addr {
	return func(name string) (addrs []netip.Addr) {
		list, _ := network.ReadLeases(leases) // no names, no answers
		for _, l := range list {
			names := append([]string{l.Name, l.Container}, l.Aliases...)
			if !slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) }) {
				continue
			}
			addrs = append(addrs, l.Addr)
			if l.Addr6.IsValid() {
				addrs = append(addrs, l.Addr6)
			}
		}
		return addrs
	}
}

// dialBridge connects to a port of the container's, as any program of the host's can.
func (n *Network) dialBridge(_ netip.AddrPort, port uint16) (duplex, error) {
	c, err := n.dialer.Dial("tcp4", netip.AddrPortFrom(n.guest, port).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (n *Network) dialBridgeUDP(_ netip.AddrPort, port uint16) (net.Conn, error) {
	return net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.guest, port)))
}
