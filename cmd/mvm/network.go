package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// networkCommand groups the verbs for networks as docker network does.
func (a *app) networkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Manage networks: create, ls, inspect, rm, prune",
		Long: `A bridge network connects containers with each other, by their names, and with
other hosts. It needs root:

  mvm network create back
  mvm run -d --network back --name db postgres
  mvm run -d --network back -p 80:8080 web`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.networkCreateCommand(), a.networkLsCommand(), a.networkInspectCommand(), a.networkRmCommand(), a.networkPruneCommand(), a.networkLeaveCommand())
	return cmd
}

// networks opens the networks, after what killed commands left is cleared away.
func (a *app) networks() (*network.Store, error) {
	s, err := a.containers()
	if err != nil {
		return nil, err
	}
	return s.Networks()
}

// networkFlags are create's flags as they were given.
type networkFlags struct {
	subnets, labels          []string
	gateway, ipRange, driver string
	internal, ip6            bool
}

func (a *app) networkCreateCommand() *cobra.Command {
	f := &networkFlags{}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] NETWORK",
		Short: "Make a bridge network, and print its name",
		Long: `Make a bridge network, and print its name. The host has nothing of it before its
first container runs.`,
		Example: `  mvm network create back
  mvm network create --subnet 10.5.0.0/24 --internal back`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.parse(args[0])
			if err != nil {
				return err
			}
			networks, err := a.networks()
			if err != nil {
				return err
			}
			if err := networks.Create(n, f.ip6); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), n.Name)
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.subnets, "subnet", nil, "the `SUBNET` of its containers (default one that is free); a second may be of IPv6")
	fs.StringVar(&f.gateway, "gateway", "", "the host's `ADDRESS` on it (default the subnet's first)")
	fs.StringVar(&f.ipRange, "ip-range", "", "the `RANGE` of the subnet that addresses are given from")
	fs.BoolVar(&f.internal, "internal", false, "let its containers reach each other, and nobody else")
	fs.BoolVar(&f.ip6, "ipv6", false, "give it a subnet of IPv6")
	fs.StringArrayVar(&f.labels, "label", nil, "give it a `LABEL`: NAME[=VALUE]")
	fs.StringVarP(&f.driver, "driver", "d", network.Default, "for docker's sake: `bridge`")
	return cmd
}

func (f *networkFlags) parse(name string) (n network.Network, err error) {
	n = network.Network{Name: name, Internal: f.internal}
	if f.driver != network.Default {
		return n, fmt.Errorf("--driver: there is no driver %q: want bridge", f.driver)
	}
	for _, s := range f.subnets {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return n, fmt.Errorf("--subnet: %q is no subnet: want one such as 10.5.0.0/24", s)
		case p.Addr().Is6() && !n.Subnet6.IsValid():
			n.Subnet6 = p
		case p.Addr().Is4() && !n.Subnet.IsValid():
			n.Subnet = p
		default:
			return n, fmt.Errorf("--subnet: %v is one too many: want one of IPv4, and perhaps one of IPv6", p)
		}
	}
	if f.gateway != "" {
		if n.Gateway, err = netip.ParseAddr(f.gateway); err != nil {
			return n, fmt.Errorf("--gateway: %q is no IP address", f.gateway)
		}
	}
	if f.ipRange != "" {
		if n.Range, err = netip.ParsePrefix(f.ipRange); err != nil {
			return n, fmt.Errorf("--ip-range: %q is no range: want one such as 10.5.0.128/25", f.ipRange)
		}
	}
	if n.Labels, err = parseLabels(f.labels); err != nil {
		return n, fmt.Errorf("--label: %w", err)
	}
	return n, nil
}

func (a *app) networkLsCommand() *cobra.Command {
	var quiet, asJSON bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS]",
		Short: "List networks",
		Example: `  mvm network ls
  mvm network ls -q --filter driver=bridge`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(filters, "name", "label", "driver", "dangling")
			if err != nil {
				return err
			}
			networks, err := a.networks()
			if err != nil {
				return err
			}
			all, err := networkViews(networks)
			if err != nil {
				return err
			}
			views := []networkView{}
			for _, v := range all {
				if f.all(func(key, value string) bool { return matchNetwork(v, key, value) }) {
					views = append(views, v)
				}
			}
			switch {
			case asJSON:
				return printJSON(cmd.OutOrStdout(), views)
			case format != "":
				return printFormat(cmd.OutOrStdout(), format, views)
			}
			return printNetworks(cmd, views, quiet)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names only")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&format, "format", "", "print each by this Go `TEMPLATE`, or json")
	cmd.Flags().StringArrayVarP(&filters, "filter", "f", nil, "only those that match: `KEY=VALUE` of name, label, driver, dangling")
	return cmd
}

func printNetworks(cmd *cobra.Command, views []networkView, quiet bool) error {
	var rows [][]string
	for _, v := range views {
		if quiet {
			fmt.Fprintln(cmd.OutOrStdout(), v.Name)
			continue
		}
		var subnets []string
		for _, c := range v.IPAM.Config {
			subnets = append(subnets, c.Subnet)
		}
		rows = append(rows, []string{v.Name, v.Driver, strings.Join(subnets, ", "), strconv.Itoa(len(v.Containers))})
	}
	if quiet {
		return nil
	}
	return printTable(cmd.OutOrStdout(), []string{"NAME", "DRIVER", "SUBNET", "CONTAINERS"}, rows)
}

func matchNetwork(v networkView, key, value string) bool {
	switch key {
	case "name":
		return strings.Contains(v.Name, value)
	case "driver":
		return v.Driver == value
	case "dangling":
		return (v.made() && len(v.Containers) == 0) == (value == "true" || value == "1")
	}
	return hasLabel(v.Labels, value)
}

func (a *app) networkInspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] NETWORK...",
		Short:             "Show all there is to know of networks, as JSON",
		Example:           `  mvm network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' bridge`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNetworks,
		RunE: func(cmd *cobra.Command, args []string) error {
			networks, err := a.networks()
			if err != nil {
				return err
			}
			return inspect(cmd, args, format, func(name string) (any, error) {
				if builtin(name) {
					return builtinView(hostnet.Kind(name)), nil
				}
				u, err := networks.Get(name)
				return newNetworkView(u), err
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "print by this Go `TEMPLATE`, or json")
	return cmd
}

func (a *app) networkRmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm NETWORK...",
		Short:             "Remove networks that no container is on",
		Example:           `  mvm network rm back`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNetworks,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.containers()
			if err != nil {
				return err
			}
			return removeEach(cmd.OutOrStdout(), args, func(name string) error {
				if builtin(name) {
					return fmt.Errorf("the network %s is always there: it cannot be removed", name)
				}
				return s.RemoveNetwork(name)
			})
		},
	}
	cmd.Flags().BoolP("force", "f", false, "for docker's sake: one that is in use is never removed")
	return cmd
}

func (a *app) networkPruneCommand() *cobra.Command {
	var filters []string
	cmd := &cobra.Command{
		Use:               "prune",
		Short:             "Remove all networks that no container is on, or would be if it ran",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(filters, "label")
			if err != nil {
				return err
			}
			s, err := a.containers()
			if err != nil {
				return err
			}
			networks, err := s.Networks()
			if err != nil {
				return err
			}
			views, err := networkViews(networks)
			if err != nil {
				return err
			}
			return pruneNetworks(cmd, s, slices.DeleteFunc(views, func(v networkView) bool {
				return !v.made() || !f.all(func(_, value string) bool { return hasLabel(v.Labels, value) })
			}))
		},
	}
	cmd.Flags().StringArrayVar(&filters, "filter", nil, "only those that match: `KEY=VALUE` of label")
	cmd.Flags().BoolP("force", "f", false, "for docker's sake: prune never asks")
	return cmd
}

func pruneNetworks(cmd *cobra.Command, s *container.Store, views []networkView) error {
	var errs []error
	for _, v := range views {
		err := s.RemoveNetwork(v.Name)
		if errors.Is(err, network.ErrInUse) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(cmd.OutOrStdout(), v.Name)
	}
	return errors.Join(errs...)
}

// networkLeaveCommand is for a container that has just ended: mvm-vmm has it run.
func (a *app) networkLeaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "leave ID",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.store()
			if err != nil {
				return err
			}
			networks, err := s.Networks()
			if err != nil {
				return err
			}
			return networks.Leave(args[0])
		},
	}
}

// completeNetworks completes names of networks.
func (a *app) completeNetworks(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	if a.findRoot() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if networks, err := a.networks(); err == nil {
		views, _ := networkViews(networks)
		for _, v := range views {
			words = append(words, v.Name)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
