package container

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// Bridges are the host's part of bridge networks (package bridge, which mvm-vmm does
// without).
type Bridges interface {
	network.Host
	// Attach makes a container's TAP device, on its network's bridge: one that goes with
	// the last copy of tap. mvm-netd hears what it asks the gateway by questions.
	Attach(network.Network, network.Lease) (tap, questions *os.File, err error)
}

// Networks opens the bridge networks.
func (s *Store) Networks() (*network.Store, error) {
	return network.Open(s.path(networksDir), s.bridges, s.inUse)
}

// madeNetworks are those there are; nil if none was ever made, or on an error.
func (s *Store) madeNetworks() (*network.Store, error) {
	if !exists(s.path(networksDir)) {
		return nil, nil
	}
	return s.Networks()
}

// inUse says whether anybody works on a container, or it runs.
func (s *Store) inUse(id string) bool {
	dir := s.path(containersDir, id)
	if c, err := read(dir); err == nil && c.Up() {
		return true
	}
	lock, err := lockDir(dir, false)
	if err == nil {
		_ = lock.Close()
	}
	return errors.Is(err, errBusy)
}

// tidyNetworks takes killed containers off their networks.
func (s *Store) tidyNetworks() error {
	n, err := s.madeNetworks()
	if n == nil {
		return err
	}
	return n.Tidy()
}

// leave takes a container off its network, if a killed mvm-vmm left it there. What that
// fails at, the next command does.
func (s *Store) leave(id string) {
	if n, _ := s.madeNetworks(); n != nil {
		_ = n.Leave(id)
	}
}

// plug is where a container's interface is plugged in on the host, on a network that
// has a mvm-netd; nil: it has none.
type plug struct {
	network hostnet.Network // as the container has it now
	// near is mvm-vmm's end, and far that of mvm-netd.
	near, far *os.File
	networks  *network.Store // that has a lease for it; nil: none has
	id        string
	after     []string // mvm's arguments to take it off its network; none: mvm waits itself
}

// plug connects a container on the host.
func (s *Store) plug(id, name string, n hostnet.Network) (*plug, error) {
	p := &plug{network: n, id: id}
	var err error
	switch n.Kind {
	case hostnet.User:
		p.near, p.far, err = linkPair()
	case hostnet.Bridge:
		err = s.join(p, name)
	default:
		return nil, nil //nolint:nilnil // there is nothing to plug in
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// join puts a container on a bridge.
func (s *Store) join(p *plug, name string) (err error) {
	if p.networks, err = s.Networks(); err != nil {
		return err
	}
	if p.network.MAC == (hostnet.MAC{}) {
		p.network.MAC = macOf(p.id)
	}
	n, l, err := p.networks.Join(network.Want{Network: p.network.Name, Lease: network.Lease{
		Container: p.id, Name: name, Aliases: p.network.Aliases, Device: tapOf(p.id), MAC: p.network.MAC,
		Addr: p.network.Addr.Addr(), Ports: p.network.Ports, Host: p.network.HostLoopback,
	}})
	if err != nil {
		return err
	}
	p.network.Addr, p.network.Gateway = netip.PrefixFrom(l.Addr, n.Subnet.Bits()), n.Gateway
	p.network.Joined = hostnet.Joined{GatewayMAC: n.MAC(), Leases: p.networks.Leases(n.Name), Internal: n.Internal}
	if l.Addr6.IsValid() {
		p.network.Joined.Addr6, p.network.Joined.Gateway6 = netip.PrefixFrom(l.Addr6, n.Subnet6.Bits()), n.Gateway6()
	}
	p.network = p.network.Resolved()
	if p.near, p.far, err = s.bridges.Attach(n, l); err != nil {
		return errors.Join(err, p.networks.Leave(p.id))
	}
	return nil
}

// spec is what mvm-vmm is told of a container that is plugged in.
func (p *plug) spec(s control.Spec) control.Spec {
	if !p.joined() {
		return s
	}
	s.Interface = p.network.Interface()
	s.Container.Addr, s.Container.Hosts, s.Container.Resolver = p.network.Addr.Addr(), p.network.Hosts, p.network.Resolver()
	return s
}

// joined says whether a network has a lease for it.
func (p *plug) joined() bool { return p != nil && p.networks != nil }

// leave takes the container off its network. What that fails at, the next command
// does.
func (p *plug) leave() {
	if p.joined() {
		_ = p.networks.Leave(p.id)
	}
}

// close closes what processes that were started have copies of.
func (p *plug) close() {
	if p != nil {
		closeFiles([]*os.File{p.near, p.far})
	}
}

// Connected is a container's network as it is while it runs.
func (s *Store) Connected(c *Container) hostnet.Network {
	n := c.Network
	if n.Kind != hostnet.Bridge || !c.Up() {
		return n
	}
	networks, err := s.Networks()
	if err != nil {
		return n
	}
	if net, l, ok := networks.Lease(c.ID); ok {
		n.Addr, n.Gateway = netip.PrefixFrom(l.Addr, net.Subnet.Bits()), net.Gateway
		if l.Addr6.IsValid() {
			n.Joined.Addr6, n.Joined.Gateway6 = netip.PrefixFrom(l.Addr6, net.Subnet6.Bits()), net.Gateway6()
		}
	}
	return n
}

// RemoveNetwork removes a network that no container is on, or would be on if it ran.
func (s *Store) RemoveNetwork(name string) error {
	networks, err := s.Networks()
	if err != nil {
		return err
	}
	if err := networks.Removable(name); err != nil {
		return err
	}
	list, err := s.List()
	if err != nil {
		return err
	}
	var holders []string
	for _, c := range list {
		if c.Network.Kind == hostnet.Bridge && c.Network.Name == name {
			holders = append(holders, c.Label())
		}
	}
	if len(holders) > 0 {
		return fmt.Errorf("the network %s %w by container %s: remove it first (mvm rm)", name, network.ErrInUse, strings.Join(holders, ", "))
	}
	return networks.Remove(name)
}
