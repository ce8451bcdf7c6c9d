package bridge

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// rules are all that the host's packet filter is to do for networks with
// containers: a function of these, and nothing else.
func rules(name string, all []network.Used) []table {
	all = slices.DeleteFunc(slices.Clone(all), func(u network.Used) bool { return len(u.Leases) == 0 })
	return []table{routed(name, all), bridged(name, all)}
}

// routed is for what comes to the host, or passes it as a router.
func routed(name string, all []network.Used) table {
	pre := &chain{name: "prerouting", kind: nftables.ChainTypeNAT, hookName: "prerouting", hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest}
	post := &chain{name: "postrouting", kind: nftables.ChainTypeNAT, hookName: "postrouting", hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityNATSource}
	in := &chain{name: "input", kind: nftables.ChainTypeFilter, hookName: "input", hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityFilter}
	forward := &chain{name: "forward", kind: nftables.ChainTypeFilter, hookName: "forward", hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter}
	for _, u := range all {
		for _, l := range u.Leases {
			pre.add(publish(l)...)
		}
		post.add(masquerade(u)...)
		in.add(input(u)...)
		forward.add(inward(u)...)
	}
	for _, u := range all { // after all that is refused for the sake of others
		forward.add(outward(u)...)
	}
	return table{name, nftables.TableFamilyINet, []*chain{pre, post, in, forward}}
}

// publish leads what comes to the host's ports to the container. What is sent to
// them by the host itself, and to its loopback, is for mvm-netd, which listens there.
func publish(l network.Lease) (list []rule) {
	for _, p := range l.Ports {
		_ = p.Each(func(host netip.AddrPort, guest uint16) error { // never fails
			for _, to := range []netip.Addr{l.Addr, l.Addr6} {
				listens := host.Addr()
				switch {
				case !to.IsValid(), listens.IsValid() && (listens.Is4() != to.Is4() || listens.IsLoopback()):
					continue
				}
				r := rule{}.notIIF("lo").family(to.Is6())
				if listens.IsValid() && !listens.IsUnspecified() {
					r = rule{}.notIIF("lo").to(single(listens))
				}
				list = append(list, r.toHost().port(p.UDP, host.Port()).dnat(netip.AddrPortFrom(to, guest)))
			}
			return nil
		})
	}
	return list
}

// masquerade gives packets that leave the host's address: to other networks, and to
// a container's own network by a published port, for the answer to come this way.
func masquerade(u network.Used) (list []rule) {
	for _, subnet := range subnets(u.Network) {
		if !u.Internal {
			list = append(list, rule{}.from(subnet).notOIF(u.Bridge).masquerade())
		}
		list = append(list, rule{}.from(subnet).oif(u.Bridge).published().masquerade())
	}
	return list
}

func subnets(n network.Network) []netip.Prefix {
	if n.Subnet6.IsValid() {
		return []netip.Prefix{n.Subnet, n.Subnet6}
	}
	return []netip.Prefix{n.Subnet}
}

// ICMP's and ICMPv6's types (RFC 792, 4443, 4861, 3810).
const (
	echoRequest       = 8
	echoRequest6      = 128
	routerAdvert      = 134
	neighborSolicit   = 135
	neighborAdvert    = 136
	redirect          = 137
	multicastReports2 = 143
)

// input lets containers of the host's reach no more than they need: pings and
// neighbours' questions, and all of those that were given the host.
func input(u network.Used) []rule {
	on := rule{}.iif(u.Bridge)
	list := []rule{ // mvm-netd answers these (Tap)
		on.to(single(u.Gateway)).port(true, dnsPort).drop(),
		on.to(single(u.Gateway)).port(false, dnsPort).drop(),
		on.established().accept(),
		on.icmp(false, "echo-request", echoRequest).accept(),
	}
	if u.Subnet6.IsValid() {
		list = append(
			list,
			on.icmp(true, "echo-request", echoRequest6).accept(),
			on.icmp(true, "nd-neighbor-solicit", neighborSolicit).accept(),
			on.icmp(true, "nd-neighbor-advert", neighborAdvert).accept(),
		)
	}
	for _, l := range u.Leases {
		if !l.Host {
			continue
		}
		list = append(list, on.from(single(l.Addr)).accept())
		if l.Addr6.IsValid() {
			list = append(list, on.from(single(l.Addr6)).accept())
		}
	}
	return append(list, on.reject())
}

// inward lets to containers what they asked for, and what is published.
func inward(u network.Used) []rule {
	to := rule{}.oif(u.Bridge)
	return []rule{
		rule{}.iif(u.Bridge).oif(u.Bridge).accept(),
		to.established().accept(),
		to.published().accept(),
		to.reject(),
	}
}

// outward lets containers out, but for where clouds keep the credentials of their
// machines.
func outward(u network.Used) []rule {
	from := rule{}.iif(u.Bridge)
	if u.Internal {
		return []rule{from.reject()}
	}
	list := []rule{from.to(netip.MustParsePrefix("169.254.0.0/16")).reject()}
	if u.Subnet6.IsValid() {
		list = append(list, from.to(single(netip.MustParseAddr("fd00:ec2::254"))).reject())
	}
	return append(list, from.accept())
}

// bridged is for frames from containers: each may send in its own name alone.
func bridged(name string, all []network.Used) table {
	pre := &chain{name: "prerouting", kind: nftables.ChainTypeFilter, hookName: "prerouting", hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw}
	t := table{name, nftables.TableFamilyBridge, []*chain{pre}}
	for _, u := range all {
		for _, l := range u.Leases {
			pre.add(rule{}.iif(l.Device).jump(l.Device))
			t.chains = append(t.chains, &chain{name: l.Device, rules: honest(l)})
		}
	}
	return t
}

// honest drops what is not from the container's own addresses, and what is a
// router's to say (RFC 6105).
func honest(l network.Lease) []rule {
	arp, ip, ip6 := rule{}.etherType("arp", unix.ETH_P_ARP), rule{}.etherType("ip", unix.ETH_P_IP), rule{}.etherType("ip6", unix.ETH_P_IPV6)
	own4 := l.Addr.AsSlice()
	list := []rule{
		rule{}.notMAC(l.MAC).drop(),
		// RFC 826: the sender's addresses.
		arp.unlike("arp saddr ether != "+l.MAC.String(), expr.PayloadBaseNetworkHeader, 8, l.MAC[:]).drop(),
		arp.unlike("arp saddr ip != "+l.Addr.String(), expr.PayloadBaseNetworkHeader, 14, own4).drop(),
		arp.accept(),
		ip.unlike("ip saddr != "+l.Addr.String(), expr.PayloadBaseNetworkHeader, source4, own4).drop(),
		ip.accept(),
	}
	if l.Addr6.IsValid() {
		local := linkLocal(l.MAC)
		own, own0 := l.Addr6.AsSlice(), local.AsSlice()
		// The address that an advertisement is about is behind 8 bytes (RFC 4861, 4.4).
		stranger := ip6.icmp(true, "nd-neighbor-advert", neighborAdvert).
			unlike(fmt.Sprintf("@th,64,128 != 0x%x", own), expr.PayloadBaseTransportHeader, 8, own).
			unlike(fmt.Sprintf("@th,64,128 != 0x%x", own0), expr.PayloadBaseTransportHeader, 8, own0)
		none := ip6.address("saddr", source4, source6, single(netip.IPv6Unspecified()))
		list = append(
			list,
			ip6.icmp(true, "nd-router-advert", routerAdvert).drop(),
			ip6.icmp(true, "nd-redirect", redirect).drop(),
			stranger.drop(),
			ip6.address("saddr", source4, source6, single(l.Addr6)).accept(),
			ip6.address("saddr", source4, source6, single(local)).accept(),
			none.icmp(true, "nd-neighbor-solicit", neighborSolicit).accept(),
			none.icmp(true, "mld2-listener-report", multicastReports2).accept(),
		)
	}
	return append(list, rule{}.drop())
}

// linkLocal is the address that an interface gives itself (RFC 4291, appendix A).
func linkLocal(m hostnet.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}
