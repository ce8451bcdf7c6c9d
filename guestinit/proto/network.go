package proto

import "net/netip"

// Interface is a network interface of the machine's, set up without DHCP.
type Interface struct {
	Name string // "eth0"
	// Addresses are its own, with the length of their network's prefix.
	Addresses []netip.Prefix `json:",omitempty"`
	// Gateways are where all else is sent, one for IPv4 and one for IPv6.
	Gateways []netip.Addr `json:",omitempty"`
}

// Host is a line of /etc/hosts: a name beside those that are always there.
type Host struct {
	Name string
	Addr netip.Addr
}

// Resolver is what /etc/resolv.conf says (resolv.conf(5)).
type Resolver struct {
	Servers []netip.Addr
	Search  []string `json:",omitempty"`
	Options []string `json:",omitempty"`
}
