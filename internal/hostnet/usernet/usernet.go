// Package usernet is the far end of a container's interface on a network of kind
// user: a TCP/IP stack (gVisor's netstack) that ends the container's connections
// and carries what is in them over ordinary sockets of the host's. It needs no
// rights there. docs/network.md draws it.
//
//	frames <-> link -> ping     echo requests, to the host's ping sockets
//	             |
//	          netstack -> tcp   to the host's sockets, or dns
//	             |     -> udp
//	             `---- publish  from the host's listeners
package usernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// Bounds of what a container may have open at once: each flow is a socket of the
// host's, and memory of this process.
const (
	maxTCP  = 4096
	maxUDP  = 1024
	maxPing = 64
	// maxBuffer bounds what is held of a TCP connection in each direction.
	maxBuffer = 512 << 10
)

const (
	nicID = 1
	// dialTimeout is how long a host may take to answer, as Linux has it.
	dialTimeout = 2 * time.Minute
)

// Network is a container's network.
type Network struct {
	cfg                hostnet.Network
	guest              netip.Addr
	gateway4, gateway6 netip.Addr
	link               *link
	stack              *stack.Stack
	dialer             net.Dialer
	dns                *resolver
	pings              *pinger
	tcpSlots, udpSlots chan struct{}
	listeners          []func() error // how to close each
	// dial connects a client of a published port to the container.
	dialTCP func(client netip.AddrPort, port uint16) (duplex, error)
	dialUDP func(client netip.AddrPort, port uint16) (net.Conn, error)
}

// New returns a network whose frames are messages on conn, which it takes over.
// The ports that cfg publishes are listened on, and nothing is carried before Serve.
func New(cfg hostnet.Network, conn *net.UnixConn) (*Network, error) {
	if !cfg.Addr.IsValid() || cfg.MTU() == 0 {
		return nil, errors.New("usernet: not a network of kind user")
	}
	n := &Network{
		cfg: cfg, guest: cfg.Addr.Addr(),
		tcpSlots: make(chan struct{}, maxTCP), udpSlots: make(chan struct{}, maxUDP),
		dialer: net.Dialer{Timeout: dialTimeout}, dns: newResolver(cfg.Hosts),
	}
	n.dialTCP, n.dialUDP = n.dialGuest, n.dialGuestUDP
	n.gateway4, n.gateway6 = hostnet.Gateways()
	n.link = newLink(conn, uint32(cfg.MTU()))
	n.pings = newPinger(n.link)
	n.link.intercept = n.intercept
	err := n.makeStack()
	if err == nil {
		err = n.publish()
	}
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// makeStack makes the stack: one interface with both gateway addresses, which
// takes what is sent to any other as well.
func (n *Network) makeStack() error {
	err := n.newStack(n.gateway4, n.gateway6)
	if err == nil {
		err = joined(n.stack.SetPromiscuousMode(nicID, true), n.stack.SetSpoofing(nicID, true))
	}
	return err
}

// joined makes one error of netstack's.
func joined(list ...tcpip.Error) error {
	var errs []error
	for _, err := range list {
		if err != nil {
			errs = append(errs, errors.New(err.String()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("make a network stack: %w", err)
	}
	return nil
}

// newStack makes a stack that has these addresses.
func (n *Network) newStack(own ...netip.Addr) error {
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: maxBuffer, Max: maxBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: maxBuffer, Max: maxBuffer}
	sack := tcpip.TCPSACKEnabled(true)
	errs := []tcpip.Error{
		n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &send),
		n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &receive),
		n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		n.stack.CreateNIC(nicID, n.link),
	}
	for _, a := range own {
		errs = append(errs, n.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
			Protocol: protocolOf(a), AddressWithPrefix: address(a).WithPrefix(),
		}, stack.AddressProperties{}))
		n.stack.AddRoute(tcpip.Route{NIC: nicID, Destination: everywhere(a)})
	}
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(n.stack, 0, maxTCP, n.forwardTCP).HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(n.stack, n.forwardUDP).HandlePacket)
	return joined(errs...)
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// everywhere is the subnet of all addresses of a's family.
func everywhere(a netip.Addr) tcpip.Subnet {
	zero := netip.IPv4Unspecified()
	if a.Is6() {
		zero = netip.IPv6Unspecified()
	}
	return tcpip.AddressWithPrefix{Address: address(zero)}.Subnet()
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// addrOf is the address of a packet's.
func addrOf(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice()) // 4 or 16 bytes
	return addr.Unmap()
}

// Serve carries frames until conn ends.
func (n *Network) Serve() error { return n.link.serve() }

// Close ends everything.
func (n *Network) Close() {
	for _, c := range n.listeners {
		_ = c()
	}
	_ = n.link.conn.Close()
	n.pings.close()
	n.stack.Destroy() // and waits
}

// context bounds a connection to the container: one that is not up yet has time
// to boot.
func (n *Network) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), dialTimeout)
}
