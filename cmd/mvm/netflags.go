package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// netFlags are run's and create's that are about the network, as they were given.
type netFlags struct {
	network, mac, ip, gateway string
	publish, dns, hosts       []string
	aliases                   []string
}

func (f *netFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.network, "network", string(hostnet.User), "the `NETWORK` it is on: user, none, tap:NAME, bridge, or one that was made (mvm network create)")
	fs.StringArrayVar(&f.aliases, "network-alias", nil, "a further `NAME` that others on a bridge network know it by")
	fs.StringArrayVarP(&f.publish, "publish", "p", nil, "publish a `PORT` on the host: [IP:]HOST:CONTAINER[/udp], or a range of each")
	fs.StringArrayVar(&f.dns, "dns", nil, "the `ADDRESS` of a name server")
	fs.StringArrayVar(&f.hosts, "add-host", nil, "give it the name of a `HOST`: NAME:ADDRESS, or NAME:host-gateway for this host")
	fs.StringVar(&f.mac, "mac-address", "", "the `ADDRESS` of its Ethernet interface (default made of its ID)")
	fs.StringVar(&f.ip, "ip", "", "its IPv4 `ADDRESS`; on a TAP device ADDRESS/BITS")
	fs.StringVar(&f.gateway, "gateway", "", "the `ADDRESS` of the router on a TAP device's network")
}

// parse checks the flags, and turns them into a network.
func (f *netFlags) parse() (n hostnet.Network, err error) {
	kind, device, _ := strings.Cut(f.network, ":")
	switch {
	case f.network == string(hostnet.None):
		return f.parseNone()
	case f.network == string(hostnet.User):
		n, err = f.parseUser()
	case kind == string(hostnet.TAP) && device != "":
		n, err = f.parseTAP(device)
	case network.CheckName(f.network) == nil:
		n, err = f.parseBridge()
	default:
		return n, fmt.Errorf("--network: there is no network %q: want user, none, tap:NAME, bridge, or one of mvm network ls", f.network)
	}
	if err == nil && len(f.aliases) > 0 && n.Kind != hostnet.Bridge {
		err = errors.New("--network-alias is for bridge networks: nobody else is on this one")
	}
	if err != nil {
		return n, err
	}
	if f.mac != "" {
		if n.MAC, err = hostnet.ParseMAC(f.mac); err != nil {
			return n, fmt.Errorf("--mac-address: %w", err)
		}
	}
	return n, f.parseNames(&n)
}

func (f *netFlags) parseNone() (hostnet.Network, error) {
	n := hostnet.Network{Kind: hostnet.None}
	for flag, given := range map[string]bool{
		"--publish": len(f.publish) > 0, "--mac-address": f.mac != "", "--ip": f.ip != "", "--gateway": f.gateway != "",
	} {
		if given {
			return n, fmt.Errorf("%s has no use without a network", flag)
		}
	}
	return n, f.parseNames(&n)
}

func (f *netFlags) parseUser() (n hostnet.Network, err error) {
	n = hostnet.DefaultUser()
	if n.Ports, err = hostnet.ParsePorts(f.publish); err != nil {
		return n, fmt.Errorf("--publish %w", err)
	}
	if f.gateway != "" {
		return n, errors.New("--gateway is for --network tap:NAME: mvm has its own on the network user")
	}
	if f.ip != "" {
		a, err := netip.ParseAddr(f.ip)
		if err == nil {
			err = hostnet.CheckUserAddr(a)
		}
		if err != nil {
			return n, fmt.Errorf("--ip: %w", err)
		}
		n.Addr = netip.PrefixFrom(a, n.Addr.Bits())
	}
	resolver, err := hostnet.ReadResolvConf()
	n.Search = resolver.Search
	return n, err
}

func (f *netFlags) parseTAP(device string) (n hostnet.Network, err error) {
	n = hostnet.Network{Kind: hostnet.TAP, Device: device}
	if len(f.publish) > 0 {
		return n, errors.New("--publish is for --network user: what listens in the container has an address of its own on a TAP device's network")
	}
	if err := hostnet.CheckTAP(device); err != nil {
		return n, fmt.Errorf("--network %s: %w", f.network, err)
	}
	if f.ip != "" {
		if n.Addr, err = netip.ParsePrefix(f.ip); err != nil || !n.Addr.Addr().Is4() {
			return n, fmt.Errorf("--ip: %q is no IPv4 address with the length of its network's prefix, such as 10.0.0.2/24", f.ip)
		}
	}
	if f.gateway != "" {
		if n.Gateway, err = netip.ParseAddr(f.gateway); err != nil || !n.Gateway.Is4() || !n.Addr.IsValid() {
			return n, fmt.Errorf("--gateway: %q: want an IPv4 address, and an --ip with it", f.gateway)
		}
	}
	resolver, err := hostnet.ReadResolvConf()
	n.Servers, n.Search = resolver.Beyond(), resolver.Search
	return n, err
}

// parseBridge reads what a container asks of a bridge network, which may turn out
// not to be there.
func (f *netFlags) parseBridge() (n hostnet.Network, err error) {
	n = hostnet.Network{Kind: hostnet.Bridge, Name: f.network, Aliases: f.aliases}
	if n.Ports, err = hostnet.ParsePorts(f.publish); err != nil {
		return n, fmt.Errorf("--publish %w", err)
	}
	if f.gateway != "" {
		return n, errors.New("--gateway is for --network tap:NAME: a bridge network has its own (mvm network create)")
	}
	if f.ip != "" {
		a, err := netip.ParseAddr(f.ip)
		if err != nil || !a.Is4() {
			return n, fmt.Errorf("--ip: %q is no IPv4 address", f.ip)
		}
		n.Addr = netip.PrefixFrom(a, a.BitLen())
	}
	for _, name := range f.aliases {
		if !hostnet.ValidName(name) {
			return n, fmt.Errorf("--network-alias: %q is no host name", name)
		}
	}
	resolver, err := hostnet.ReadResolvConf()
	n.Search = resolver.Search
	return n, err
}

// checkNetwork says whether there is a container's network, and it can be on it.
func (a *app) checkNetwork(n hostnet.Network) error {
	if n.Kind != hostnet.Bridge {
		return nil
	}
	s, err := a.store()
	if err != nil {
		return err
	}
	networks, err := s.Networks()
	if err == nil {
		err = networks.Check(n.Name)
	}
	if err == nil && os.Geteuid() != 0 {
		err = errors.New("a bridge needs root: use --network user")
	}
	if err != nil {
		return fmt.Errorf("--network %s: %w", n.Name, err)
	}
	return nil
}

// parseNames adds what names are to mean.
func (f *netFlags) parseNames(n *hostnet.Network) error {
	var servers []netip.Addr
	for _, s := range f.dns {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("--dns: %q is no IP address", s)
		}
		servers = append(servers, a)
	}
	if servers != nil {
		n.Servers = servers
	}
	for _, s := range f.hosts {
		if err := n.AddHost(s); err != nil {
			return fmt.Errorf("--add-host: %w", err)
		}
	}
	return nil
}
