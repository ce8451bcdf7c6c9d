package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// networkView is a network as inspect and templates show it: docker's names, and
// that of its bridge.
type networkView struct {
	Name, ID             string
	Created              string
	Scope, Driver        string
	EnableIPv6, Internal bool
	IPAM                 struct{ Config []ipamView }
	Containers           map[string]memberView
	Bridge               string `json:",omitempty"`
	Labels               map[string]string
}

type ipamView struct {
	Subnet  string
	IPRange string `json:",omitempty"`
	Gateway string
}

type memberView struct {
	Name, MacAddress, IPv4Address, IPv6Address string
}

func newNetworkView(u network.Used) networkView {
	v := networkView{
		Name: u.Name, ID: u.Name, Created: u.Created.Format(rfc3339Nano), Scope: "local", Driver: string(hostnet.Bridge),
		EnableIPv6: u.Subnet6.IsValid(), Internal: u.Internal, Bridge: u.Bridge, Labels: u.Labels, Containers: map[string]memberView{},
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	c := ipamView{Subnet: u.Subnet.String(), Gateway: u.Gateway.String()}
	if u.Range.IsValid() {
		c.IPRange = u.Range.String()
	}
	v.IPAM.Config = []ipamView{c}
	if v.EnableIPv6 {
		v.IPAM.Config = append(v.IPAM.Config, ipamView{Subnet: u.Subnet6.String(), Gateway: u.Gateway6().String()})
	}
	for _, l := range u.Leases {
		m := memberView{Name: l.Name, MacAddress: l.MAC.String(), IPv4Address: netip.PrefixFrom(l.Addr, u.Subnet.Bits()).String()}
		if l.Addr6.IsValid() {
			m.IPv6Address = netip.PrefixFrom(l.Addr6, u.Subnet6.Bits()).String()
		}
		v.Containers[l.Container] = m
	}
	return v
}

// builtin says that a network is no bridge: it is always there.
func builtin(name string) bool {
	kind := hostnet.Kind(name)
	return kind == hostnet.User || kind == hostnet.None
}

// builtinView is a network that is no bridge: user, or none.
func builtinView(kind hostnet.Kind) networkView {
	v := networkView{Name: string(kind), ID: string(kind), Scope: "local", Driver: string(kind), Labels: map[string]string{}, Containers: map[string]memberView{}}
	if kind == hostnet.User {
		n := hostnet.DefaultUser()
		v.EnableIPv6 = true
		v.IPAM.Config = []ipamView{{Subnet: n.Addr.Masked().String(), Gateway: n.Gateway.String()}}
	}
	return v
}

// networkViews are all networks by name.
func networkViews(networks *network.Store) ([]networkView, error) {
	list, err := networks.List()
	if err != nil {
		return nil, err
	}
	views := []networkView{builtinView(hostnet.User), builtinView(hostnet.None)}
	for _, u := range list {
		views = append(views, newNetworkView(u))
	}
	slices.SortFunc(views, func(a, b networkView) int { return strings.Compare(a.Name, b.Name) })
	return views, nil
}

// made says whether somebody made the network: it can be removed.
func (v networkView) made() bool {
	return v.Driver == string(hostnet.Bridge) && v.Name != network.Default
}
