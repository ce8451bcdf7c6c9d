// Package hostnet is how a container is connected to the world, as plain data:
// what the user asks for, and what the guest and the process at the other end of
// its interface are told. docs/network.md draws it.
package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Kind is a kind of network.
type Kind string

// The kinds of networks.
const (
	None Kind = "none" // no interface but the loopback
	User Kind = "user" // mvm-netd, which needs no rights on the host
	TAP  Kind = "tap"  // a TAP device of the caller's
	// Bridge is a network of several containers, on a bridge of the host's.
	Bridge Kind = "bridge"
)

// Network is how a container is connected. The zero Network is None.
type Network struct {
	Kind Kind
	// Name is that of a network of kind Bridge.
	Name string `json:",omitempty"`
	// Device is the TAP device's name.
	Device string `json:",omitempty"`
	// MAC is the interface's; zero: made of the container's ID.
	MAC MAC `json:",omitzero"`
	// Addr is the container's IPv4 address with the length of its prefix. Of a TAP
	// it may be missing, as may Gateway: nothing is set up then. Of Bridge it is what
	// the container asks for, until it has joined.
	Addr    netip.Prefix `json:",omitzero"`
	Gateway netip.Addr   `json:",omitzero"`
	// Servers are the name servers in its resolv.conf; none: the gateway of User,
	// and the host's of TAP. On Bridge it is the gateway that asks them, or else the
	// host's.
	Servers []netip.Addr `json:",omitempty"`
	Search  []string     `json:",omitempty"`
	// Hosts are names beside those that the servers know. An address that is not valid
	// is the gateway's, on Bridge.
	Hosts []proto.Host `json:",omitempty"`
	// HostLoopback leads from the gateway's address to the host's 127.0.0.1; on Bridge,
	// it lets the container reach the host.
	HostLoopback bool `json:",omitempty"`
	// Ports are published on the host.
	Ports []Port `json:",omitempty"`
	// Aliases are names that others on a network of kind Bridge know it by.
	Aliases []string `json:",omitempty"`
	// Joined is what a container that runs has on a network of kind Bridge.
	Joined Joined `json:",omitzero"`
}

// Joined is what a container gets to know of a network of kind Bridge by joining.
type Joined struct {
	Addr6    netip.Prefix `json:",omitzero"`
	Gateway6 netip.Addr   `json:",omitzero"`
	// GatewayMAC is the bridge's.
	GatewayMAC MAC `json:",omitzero"`
	// Leases is the folder that tells the names of the network's others.
	Leases string `json:",omitempty"`
	// Internal says that only these are to be told.
	Internal bool `json:",omitempty"`
}

// String is the network as --network takes it.
func (n Network) String() string {
	switch n.Kind {
	case TAP:
		return string(TAP) + ":" + n.Device
	case Bridge:
		return n.Name
	case "":
		return string(None)
	case None, User:
	}
	return string(n.Kind)
}

// The network that every container of kind User has to itself: nobody else is
// on it, so one plan serves all. The IPv6 prefix is a unique local one (RFC 4193).
func userNetworks() (ip4, ip6 netip.Prefix) {
	return netip.MustParsePrefix("192.168.127.0/24"), netip.MustParsePrefix("fd6d:766d:6e65::/64")
}

// Gateways are the addresses of mvm-netd in the container's networks.
func Gateways() (ip4, ip6 netip.Addr) {
	n4, n6 := userNetworks()
	return n4.Addr().Next(), n6.Addr().Next()
}

// DefaultUser is a network of kind User.
func DefaultUser() Network {
	n4, _ := userNetworks()
	gateway, _ := Gateways()
	return Network{Kind: User, Addr: netip.PrefixFrom(gateway.Next(), n4.Bits()), Gateway: gateway}
}

// CheckUserAddr tells whether a container of kind User can have an address.
func CheckUserAddr(a netip.Addr) error {
	n4, _ := userNetworks()
	gateway, _ := Gateways()
	last := a.Is4() && a.As4()[3] == 255
	if !n4.Contains(a) || a == n4.Addr() || a == gateway || last {
		return fmt.Errorf("%v is not to be had: want one of %v but the first two and the last", a, n4)
	}
	return nil
}

// address6 is the container's IPv6 address on a network of kind User.
func address6() netip.Prefix {
	_, n6 := userNetworks()
	_, gateway := Gateways()
	return netip.PrefixFrom(gateway.Next(), n6.Bits())
}

// Interface is what the guest is told; nil: it has no interface.
func (n Network) Interface() *proto.Interface {
	i := &proto.Interface{Name: "eth0"}
	switch n.Kind {
	case None, "":
		return nil
	case User, TAP, Bridge:
	}
	if n.Addr.IsValid() {
		i.Addresses = append(i.Addresses, n.Addr)
	}
	if n.Gateway.IsValid() {
		i.Gateways = append(i.Gateways, n.Gateway)
	}
	if n.Kind == User {
		_, gateway := Gateways()
		i.Addresses, i.Gateways = append(i.Addresses, address6()), append(i.Gateways, gateway)
	}
	if j := n.Joined; j.Addr6.IsValid() {
		i.Addresses, i.Gateways = append(i.Addresses, j.Addr6), append(i.Gateways, j.Gateway6)
	}
	return i
}

// Resolved is the network with the gateway's address for --add-host's names of it.
func (n Network) Resolved() Network {
	n.Hosts = slices.Clone(n.Hosts)
	for i := range n.Hosts {
		if !n.Hosts[i].Addr.IsValid() {
			n.Hosts[i].Addr = n.Gateway
		}
	}
	return n
}

// Resolver is the container's resolv.conf; nil: the image's stays.
func (n Network) Resolver() *proto.Resolver {
	if n.Kind == Bridge && !n.Gateway.IsValid() {
		return nil // it has not joined yet
	}
	if n.Kind == Bridge { // a name without a dot may be another container's: as it is, first
		return &proto.Resolver{Servers: []netip.Addr{n.Gateway}, Search: n.Search, Options: []string{"ndots:0"}}
	}
	servers := n.Servers
	if len(servers) == 0 && n.Kind == User {
		servers = []netip.Addr{n.Gateway}
	}
	if len(servers) == 0 {
		return nil
	}
	return &proto.Resolver{Servers: servers, Search: n.Search}
}

// userMTU is the longest packet that one read of an IPv4 packet's length allows,
// rounded down: with nothing but this host's memory in between, fewer frames carry
// more.
const userMTU = 65520

// MTU is the interface's; 0: Ethernet's.
func (n Network) MTU() uint16 {
	if n.Kind == User {
		return userMTU
	}
	return 0
}

// MAC is an Ethernet address.
type MAC [6]byte

// ParseMAC reads an address that an interface can have.
func ParseMAC(s string) (MAC, error) {
	a, err := net.ParseMAC(s)
	if err != nil || len(a) != len(MAC{}) || a[0]&1 != 0 || MAC(a) == (MAC{}) {
		return MAC{}, fmt.Errorf("bad address %q: want six bytes of no group, such as 52:54:00:12:34:56", s)
	}
	return MAC(a), nil
}

// MACOf makes an address of six bytes that are nobody else's: a local one, of no
// group.
func MACOf(b [6]byte) MAC {
	b[0] = b[0]&^1 | 2
	return b
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMAC(string(text))
	return err
}
