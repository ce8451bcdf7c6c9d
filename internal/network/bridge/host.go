// Package bridge is what the host has of bridge networks: bridges, TAP devices and
// rules of its packet filter. docs/network.md draws it.
package bridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/network"
)

// Host is this host. It implements network.Host, and container.Bridges.
type Host struct {
	// Table is the name of its tables, in the families inet and bridge.
	Table string
}

// New returns the host as the networks in one of mvm's folders see it: those of
// another folder have tables of their own.
func New(dir string) Host {
	sum := sha256.Sum256([]byte(dir))
	return Host{"mvm-" + hex.EncodeToString(sum[:4])}
}

// Routes implements network.Host.
func (Host) Routes() ([]network.Route, error) {
	list, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("read this host's routes: %w", err)
	}
	var routes []network.Route
	for _, r := range list {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		if !ok || bits == 0 {
			continue
		}
		device := "another device"
		if l, err := net.InterfaceByIndex(r.LinkIndex); err == nil {
			device = l.Name
		}
		routes = append(routes, network.Route{Dst: netip.PrefixFrom(addr.Unmap(), bits), Device: device})
	}
	return routes, nil
}

// Has implements network.Host.
func (Host) Has(device string) bool {
	_, err := net.InterfaceByName(device)
	return err == nil
}

// Apply implements network.Host. Bridges come before the rules, and go after them.
func (h Host) Apply(all []network.Used) error {
	used := false
	for _, u := range all {
		if len(u.Leases) == 0 {
			continue
		}
		used = true
		if err := ensure(u.Network); err != nil {
			return fmt.Errorf("network %s: bridge %s: %w", u.Name, u.Bridge, explain(err))
		}
	}
	if err := h.filter(all, used); err != nil {
		return fmt.Errorf("this host's packet filter (modprobe nf_tables): %w", explain(err))
	}
	for _, u := range all {
		if len(u.Leases) > 0 {
			continue
		}
		if err := remove(u.Network); err != nil {
			return fmt.Errorf("network %s: remove the bridge %s: %w", u.Name, u.Bridge, explain(err))
		}
	}
	return nil
}

// filter replaces all rules, in one transaction.
func (h Host) filter(all []network.Used, used bool) error {
	c, err := nftables.New(nftables.WithSockOptions(roomy))
	if err != nil {
		return err
	}
	for _, t := range rules(h.Table, all) {
		if used {
			t.load(c)
		} else {
			t.remove(c)
		}
	}
	err = c.Flush()
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) { // one fails, and all that are after it
		return many.Unwrap()[0]
	}
	return err
}

// Forget implements network.Host: whoever gets an address next is not to get what was
// let through to who had it before. A kernel that keeps no list for others to read
// (nf_conntrack_netlink) forgets by itself, in time.
func (Host) Forget(gone []network.Lease) {
	had := flowsOf{}
	ip6 := false
	for _, l := range gone {
		had[l.Addr], had[l.Addr6] = true, true
		ip6 = ip6 || l.Addr6.IsValid()
	}
	_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, had)
	if ip6 {
		_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET6, had)
	}
}

// flowsOf are the connections from and to some addresses.
type flowsOf map[netip.Addr]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flowsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{flow.Forward.SrcIP, flow.Forward.DstIP, flow.Reverse.SrcIP, flow.Reverse.DstIP} {
		if a, ok := netip.AddrFromSlice(ip); ok && f[a.Unmap()] {
			return true
		}
	}
	return false
}

// room is for the rules of 64 containers with as many ports as there can be, and the
// kernel's answers to each.
const room = 64 << 20

// roomy makes a socket take a transaction in one message.
func roomy(c *mdnetlink.Conn) error {
	return errors.Join(c.SetWriteBuffer(room), c.SetReadBuffer(room))
}

var errForeign = errors.New("this host has another interface of that name: rename that one")

// find returns a network's bridge; nil: there is none. That it is this network's
// is told by its address, which it has from its making on.
func find(n network.Network) (netlink.Link, error) {
	l, err := netlink.LinkByName(n.Bridge)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil //nolint:nilnil // it is no error
	}
	if err != nil {
		return nil, err
	}
	mac := n.MAC()
	if l.Type() != "bridge" || !bytes.Equal(l.Attrs().HardwareAddr, mac[:]) {
		return nil, errForeign
	}
	return l, nil
}

// ensure makes a network's bridge be there, up, and the gateway.
func ensure(n network.Network) error {
	l, err := find(n)
	if err != nil {
		return err
	}
	if l == nil {
		if l, err = newBridge(n); err != nil {
			return err
		}
	}
	if err := address(l, netip.PrefixFrom(n.Gateway, n.Subnet.Bits())); err != nil {
		return err
	}
	if n.Subnet6.IsValid() {
		if err := address(l, netip.PrefixFrom(n.Gateway6(), n.Subnet6.Bits())); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	if n.Internal {
		return nil
	}
	return route(n.Subnet6.IsValid())
}

// newBridge makes a network's bridge, which has no addresses yet.
func newBridge(n network.Network) (netlink.Link, error) {
	a := netlink.NewLinkAttrs()
	mac := n.MAC()
	a.Name, a.HardwareAddr = n.Bridge, mac[:]
	// Without snooping no container can have others' multicasts, which is how IPv6
	// finds neighbours, led away.
	snooping := false
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a, MulticastSnooping: &snooping}); err != nil {
		return nil, err
	}
	if err := quiet(n.Bridge, n.Subnet6.IsValid()); err != nil {
		return nil, err
	}
	return netlink.LinkByName(n.Bridge)
}

// address gives a bridge an address, at once: nobody else has it.
func address(l netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(l, a); err != nil {
		return fmt.Errorf("add the address %v: %w", p, err)
	}
	return nil
}

// remove removes a network's bridge, if it is there.
func remove(n network.Network) error {
	l, err := find(n)
	if l == nil || err != nil {
		return nil //nolint:nilerr // another's of that name stays
	}
	return netlink.LinkDel(l)
}

// Where the host's switches are (Documentation/networking/ip-sysctl.rst).
const sysctl4, sysctl6 = "/proc/sys/net/ipv4", "/proc/sys/net/ipv6/conf"

// quiet keeps the host from talking IPv6 with containers where they have none, and
// from taking one of them for a router.
func quiet(device string, ip6 bool) error {
	dir := filepath.Join(sysctl6, device)
	name := "disable_ipv6"
	value := "1"
	if ip6 {
		name, value = "accept_ra", "0"
	}
	err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	return err
}

// route makes the host a router, as every engine with bridges does, and for good:
// who else needs it by the time the last container ends cannot be known.
func route(ip6 bool) error {
	if err := set(filepath.Join(sysctl4, "ip_forward")); err != nil || !ip6 {
		return err
	}
	if on(filepath.Join(sysctl6, "all/forwarding")) {
		return nil
	}
	// A router takes no advertisements, but from where it is told to all the same: the
	// host's own IPv6 is not to end for this.
	paths, err := filepath.Glob(filepath.Join(sysctl6, "*", "accept_ra"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if on(path) {
			if err := os.WriteFile(path, []byte("2"), 0); err != nil {
				return err
			}
		}
	}
	return set(filepath.Join(sysctl6, "all/forwarding"))
}

// on says whether a switch is at 1.
func on(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && string(bytes.TrimSpace(text)) == "1"
}

func set(path string) error {
	if on(path) {
		return nil
	}
	return os.WriteFile(path, []byte("1"), 0)
}

// explain says what to do about an error.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return errors.New("only root may: use --network user")
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: this host's kernel lacks a module (bridge, nf_tables, nft_chain_nat, nft_nat, nft_masq, nft_ct, nft_fib_inet, nft_reject_inet, nft_meta_bridge): use --network user", err)
	}
	return err
}
