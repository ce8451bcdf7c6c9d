package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// Route is a route of the host's.
type Route struct {
	Dst    netip.Prefix
	Device string
}

// pools are where subnets are taken from, each of subnetBits: private ones (RFC
// 1918) of which other engines take none by themselves.
func pools() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.231.0.0/16"), netip.MustParsePrefix("172.31.0.0/16"), netip.MustParsePrefix("192.168.192.0/18"),
	}
}

const subnetBits = 24

// wideRoute is the longest prefix of routes that say "all there is", as VPNs have
// them: they stand in nobody's way.
const wideRoute = 7

// conflict says what has addresses of a subnet already, other than the bridge
// called own; nil: nothing.
func conflict(subnet netip.Prefix, own string, others []Used, routes []Route) error {
	for _, n := range others {
		for _, taken := range []netip.Prefix{n.Subnet, n.Subnet6} {
			if n.Bridge != own && taken.IsValid() && taken.Overlaps(subnet) {
				return fmt.Errorf("the subnet %v overlaps that of the network %s, %v: choose another with --subnet", subnet, n.Name, taken)
			}
		}
	}
	for _, r := range routes {
		if r.Device != own && r.Dst.Bits() > wideRoute && r.Dst.Overlaps(subnet) {
			return fmt.Errorf("the subnet %v overlaps this host's route to %v on %s: choose another with --subnet", subnet, r.Dst, r.Device)
		}
	}
	if user := hostnet.DefaultUser().Addr.Masked(); user.Overlaps(subnet) {
		return fmt.Errorf("the subnet %v overlaps that of the network user, %v: choose another with --subnet", subnet, user)
	}
	return nil
}

// pick finds a subnet that nobody has.
func pick(own string, others []Used, routes []Route) (netip.Prefix, error) {
	for _, pool := range pools() {
		for a := pool.Addr(); pool.Contains(a); a = last(netip.PrefixFrom(a, subnetBits)).Next() {
			if subnet := netip.PrefixFrom(a, subnetBits); conflict(subnet, own, others, routes) == nil {
				return subnet, nil
			}
		}
	}
	return netip.Prefix{}, errors.New("no subnet is free: this host has routes to all that mvm takes by itself: make a network with --subnet (mvm network create)")
}

// Want is what a container asks of a network.
type Want struct {
	Lease
	Network string
}

// allocate gives a container its addresses.
func (u Used) allocate(w Want) (Lease, error) {
	l := w.Lease
	if l.MAC == u.MAC() {
		return l, fmt.Errorf("the address %v is the gateway's on the network %s: choose another with --mac-address", l.MAC, u.Name)
	}
	taken := map[netip.Addr]string{u.Gateway: "the gateway"}
	for _, o := range u.Leases {
		taken[o.Addr] = "container " + o.Name
		if o.MAC == l.MAC {
			return l, fmt.Errorf("the address %v is container %s's on the network %s: choose another with --mac-address", l.MAC, o.Name, u.Name)
		}
	}
	if l.Addr.IsValid() {
		if !u.fits(l.Addr) {
			return l, fmt.Errorf("the address %v is no host's in the network %s, %v: choose another with --ip", l.Addr, u.Name, u.Subnet)
		}
		if who := taken[l.Addr]; who != "" {
			return l, fmt.Errorf("the address %v is %s's on the network %s: choose another with --ip", l.Addr, who, u.Name)
		}
	} else if l.Addr = u.free(taken); !l.Addr.IsValid() {
		return l, fmt.Errorf("the network %s has no address free for a container: end some, or make a larger network (mvm network create --subnet)", u.Name)
	}
	l.Addr6 = u.addr6(l.Addr)
	return l, nil
}

// free is the lowest address that nobody has; none: there is none.
func (u Used) free(taken map[netip.Addr]string) netip.Addr {
	from := u.Subnet
	if u.Range.IsValid() {
		from = u.Range
	}
	for a := from.Addr(); from.Contains(a); a = a.Next() {
		if u.fits(a) && taken[a] == "" {
			return a
		}
	}
	return netip.Addr{}
}
