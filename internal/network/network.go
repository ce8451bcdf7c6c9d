// Package network keeps bridge networks on disk, and which containers are on
// them. docs/network.md draws it.
//
//	ROOT/networks/NAME/
//	    network.json         what it is; replaced as a whole
//	    leases/ID            one for each container that is on it
//	ROOT/networks/.new-*     one that is being made, or removed, under the lock
//
// What the host has of a network, its bridge and rules, is made of the leases, as a
// whole, by whoever changes them: a lease is there before what it stands for, and
// goes after it. One whose container does not run was left by a process that was
// killed, and goes with the next command, with all that it stands for. Whoever
// changes anything holds an flock on the folder of them all.
package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/naming"
)

// Default is the network that is always there.
const Default = "bridge"

// Network is a bridge network.
type Network struct {
	Name    string
	Created time.Time
	// Bridge is the name of the host's interface.
	Bridge string
	// Subnet is where its containers' addresses are, but for the Gateway, which is
	// the host's. Range bounds those that are given to containers which ask for none.
	Subnet  netip.Prefix
	Gateway netip.Addr
	Range   netip.Prefix `json:",omitzero"`
	// Subnet6 is of 64 bits; none: there is no IPv6.
	Subnet6 netip.Prefix `json:",omitzero"`
	// Internal leads nowhere but to its other containers.
	Internal bool              `json:",omitempty"`
	Labels   map[string]string `json:",omitempty"`
}

// Lease is a container on a network.
type Lease struct {
	Container string // its ID
	// Name is the container's, which the network's others know it by; Aliases are
	// further ones.
	Name    string
	Aliases []string `json:",omitempty"`
	// Device is the host's end of its interface.
	Device string
	MAC    hostnet.MAC
	Addr   netip.Addr
	Addr6  netip.Addr `json:",omitzero"`
	// Ports are published on the host.
	Ports []hostnet.Port `json:",omitempty"`
	// Host lets it reach the host, by the gateway's address.
	Host bool `json:",omitempty"`
}

// Used is a network with the containers that are on it.
type Used struct {
	Network
	Leases []Lease
}

// Gateway6 is the host's IPv6 address; none without Subnet6.
func (n Network) Gateway6() netip.Addr { return n.addr6(n.Gateway) }

// MAC is the bridge's Ethernet address: the same whatever comes and goes.
func (n Network) MAC() hostnet.MAC {
	h := fnv.New64a()
	_, _ = h.Write([]byte(n.Bridge + "\x00" + n.Created.String())) // never fails: hash.Hash
	return hostnet.MACOf([6]byte(h.Sum(nil)))
}

// addr6 is the IPv6 address of who has an IPv4 address: it ends with that.
func (n Network) addr6(a netip.Addr) netip.Addr {
	if !n.Subnet6.IsValid() {
		return netip.Addr{}
	}
	b, a4 := n.Subnet6.Addr().As16(), a.As4()
	copy(b[12:], a4[:])
	return netip.AddrFrom16(b)
}

// CheckName checks a network's name.
func CheckName(name string) error { return naming.Check("network", name) }

// reserved are names that say another kind of network.
func reserved(name string) bool {
	return slices.Contains([]string{Default, string(hostnet.User), string(hostnet.None), string(hostnet.TAP), "host", "container", "default"}, name)
}

// Bounds of an IPv4 network's prefix: one of 30 bits has room for one container.
const minBits, maxBits = 8, 30

// check says whether the network is one.
func (n Network) check() error {
	s := n.Subnet
	switch {
	case !s.Addr().Is4() || s.Bits() < minBits || s.Bits() > maxBits:
		return fmt.Errorf("the subnet %v is none for containers: want one of IPv4 with a prefix of %d to %d bits", s, minBits, maxBits)
	case s != s.Masked():
		return fmt.Errorf("the subnet %v has bits beyond its prefix: did you mean %v?", s, s.Masked())
	case !s.Addr().IsGlobalUnicast() || s.Addr().As4()[0] == 0 || s.Addr().As4()[0] >= 240:
		return fmt.Errorf("the subnet %v is none for containers: want a private one, such as 10.5.0.0/24", s)
	case !n.fits(n.Gateway):
		return fmt.Errorf("the gateway %v is no host's address in %v", n.Gateway, s)
	case n.Range.IsValid() && (n.Range != n.Range.Masked() || n.Range.Bits() < s.Bits() || !s.Contains(n.Range.Addr())):
		return fmt.Errorf("the range %v is no part of %v", n.Range, s)
	case n.Subnet6.IsValid() && (!n.Subnet6.Addr().Is6() || n.Subnet6.Bits() != 64 || n.Subnet6 != n.Subnet6.Masked() || !n.Subnet6.Addr().IsGlobalUnicast()):
		return fmt.Errorf("the subnet %v is none for containers: want one of IPv6 with a prefix of 64 bits, such as fd12:3456:789a::/64", n.Subnet6)
	}
	return nil
}

// fits says whether a host of the subnet can have an address.
func (n Network) fits(a netip.Addr) bool {
	return a.Is4() && n.Subnet.Contains(a) && a != n.Subnet.Addr() && a != last(n.Subnet)
}

// last is a subnet's broadcast address.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// uniqueLocal makes an IPv6 subnet that is nobody else's (RFC 4193, 3.2.2).
func uniqueLocal() netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], 0xfd<<56|rand.Uint64()>>24<<16)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// randomBridge is a name for a bridge.
func randomBridge() string {
	return fmt.Sprintf("mvm-%08x", rand.Uint32())
}

// Errors that are in those of methods.
var (
	ErrExists = errors.New("is there already")
	ErrInUse  = errors.New("is in use")
)
