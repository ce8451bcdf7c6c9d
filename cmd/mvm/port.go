package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/hostnet"
)

func (a *app) portCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "port CONTAINER [PORT[/PROTOCOL]]",
		Short: "List the ports of a container that are published on the host, or where one is",
		Example: `  mvm port web
  mvm port web 80`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, c, err := a.one(args[0])
			if err != nil {
				return err
			}
			only := ""
			if len(args) == 2 {
				if only = args[1]; !strings.Contains(only, "/") {
					only += "/tcp"
				}
			}
			return printPorts(cmd, &c, only)
		},
	}
}

// publication is where a port is published, as docker's inspect has it.
type publication struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

func (p publication) String() string { return net.JoinHostPort(p.HostIP, p.HostPort) }

// everywhere are the addresses of a port that is published on all.
func everywhere(p hostnet.Port) []netip.Addr {
	if p.IP.IsValid() {
		return []netip.Addr{p.IP}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

// portsText is a container's published ports as docker's ps has them.
func portsText(n hostnet.Network) string {
	row := func(first, count uint16) string {
		if count == 1 {
			return strconv.Itoa(int(first))
		}
		return fmt.Sprintf("%d-%d", first, first+count-1)
	}
	var all []string
	for _, p := range n.Ports {
		for _, ip := range everywhere(p) {
			all = append(all, fmt.Sprintf("%s->%s/%s", net.JoinHostPort(ip.String(), row(p.Host, p.Count)), row(p.Guest, p.Count), p.Protocol()))
		}
	}
	return strings.Join(all, ", ")
}

// publications are where a container's ports are published, by port and protocol.
func publications(n hostnet.Network) map[string][]publication {
	m := map[string][]publication{}
	for _, p := range n.Ports {
		_ = p.Each(func(host netip.AddrPort, guest uint16) error {
			key := fmt.Sprintf("%d/%s", guest, p.Protocol())
			for _, ip := range everywhere(p) {
				m[key] = append(m[key], publication{ip.String(), strconv.Itoa(int(host.Port()))})
			}
			return nil
		})
	}
	return m
}

// printPorts prints all, or those of one port and protocol.
func printPorts(cmd *cobra.Command, c *container.Container, only string) error {
	ports := publications(c.Network)
	if only != "" {
		if ports[only] == nil {
			return fmt.Errorf("container %s: its port %s is not published: see mvm port %[1]s", c.Label(), only)
		}
		for _, p := range ports[only] {
			fmt.Fprintln(cmd.OutOrStdout(), p)
		}
		return nil
	}
	for _, key := range sortedPorts(ports) {
		for _, p := range ports[key] {
			fmt.Fprintf(cmd.OutOrStdout(), "%s -> %s\n", key, p)
		}
	}
	return nil
}

// sortedPorts are the keys, by number.
func sortedPorts(ports map[string][]publication) []string {
	var keys []string
	for key := range ports {
		keys = append(keys, key)
	}
	number := func(key string) int {
		text, _, _ := strings.Cut(key, "/")
		n, _ := strconv.Atoi(text) // it was made of one
		return n
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := number(a) - number(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return keys
}

// setNetwork describes how a container is connected.
func (i *inspected) setNetwork(c container.Container) {
	n, s := c.Network, &i.NetworkSettings
	s.Network, s.Ports = n.String(), publications(n)
	interf := n.Interface()
	if interf == nil {
		return
	}
	s.MacAddress = n.MAC.String()
	for _, p := range interf.Addresses {
		if p.Addr().Is4() {
			s.IPAddress, s.IPPrefixLen = p.Addr().String(), p.Bits()
		} else {
			s.GlobalIPv6Address = p.Addr().String()
		}
	}
	for _, g := range interf.Gateways {
		if g.Is4() {
			s.Gateway = g.String()
		} else {
			s.IPv6Gateway = g.String()
		}
	}
	s.Networks = map[string]endpoint{s.Network: {
		Aliases: n.Aliases, IPAddress: s.IPAddress, IPPrefixLen: s.IPPrefixLen, Gateway: s.Gateway,
		MacAddress: s.MacAddress, GlobalIPv6Address: s.GlobalIPv6Address, IPv6Gateway: s.IPv6Gateway,
	}}
}

// endpoint is a container's interface on a network, as docker's inspect has it.
type endpoint struct {
	Aliases                        []string
	MacAddress, Gateway, IPAddress string
	IPPrefixLen                    int
	IPv6Gateway, GlobalIPv6Address string
}
