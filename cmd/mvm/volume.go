package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/volume"
)

// volumeCommand groups the verbs for volumes as docker volume does.
func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Manage volumes: create, ls, inspect, rm, prune",
		Long: `A volume is a disk with a name, which outlives the containers that have it:

  mvm run -v data:/var/lib/postgresql postgres`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.volumeCreateCommand(), a.volumeLsCommand(), a.volumeInspectCommand(), a.volumeRmCommand(), a.volumePruneCommand())
	return cmd
}

// volumes opens the volumes, after what killed commands left is cleared away:
// containers that are gone have none.
func (a *app) volumes() (*container.Store, *volume.Store, error) {
	s, err := a.containers()
	if err != nil {
		return nil, nil, err
	}
	v, err := s.Volumes()
	return s, v, err
}

func (a *app) volumeCreateCommand() *cobra.Command {
	var size string
	var labels []string
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [NAME]",
		Short: "Make a volume, and print its name",
		Long: `Make a volume, and print its name, which is made up if none is given. A volume that
is there already is left as it is. Its size bounds what it holds; on the host it takes
the room that is used.`,
		Example: `  mvm volume create data
  mvm volume create --size 50g data`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := describeVolume(args, size, labels)
			if err != nil {
				return err
			}
			_, volumes, err := a.volumes()
			if err != nil {
				return err
			}
			if err := volumes.Create(v); errors.Is(err, volume.ErrExists) && size != "" {
				return fmt.Errorf("%w: its size stays as it is", err)
			} else if err != nil && !errors.Is(err, volume.ErrExists) {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), v.Name)
			return nil
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "`SIZE` of its file system (default 10g)")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "give it a `LABEL`: NAME[=VALUE]")
	return cmd
}

// describeVolume makes a volume of create's arguments.
func describeVolume(args []string, size string, labels []string) (v volume.Volume, err error) {
	if len(args) > 0 {
		v.Name = args[0]
	} else {
		v.Name, v.Nameless = volume.RandomName(), true
	}
	if size == "" {
		size = "10g"
	}
	if v.Size, err = parseSize(size); err != nil {
		return v, fmt.Errorf("--size: %w", err)
	}
	if v.Labels, err = parseLabels(labels); err != nil {
		return v, fmt.Errorf("--label: %w", err)
	}
	return v, nil
}

func (a *app) volumeLsCommand() *cobra.Command {
	var quiet bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS]",
		Short: "List volumes",
		Example: `  mvm volume ls
  mvm volume ls -q --filter dangling=true`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(filters, "name", "label", "dangling")
			if err != nil {
				return err
			}
			list, err := a.listVolumes(f)
			if err != nil {
				return err
			}
			if format != "" {
				var views []volumeView
				for _, v := range list {
					views = append(views, newVolumeView(v))
				}
				return printFormat(cmd.OutOrStdout(), format, views)
			}
			var rows [][]string
			for _, v := range list {
				if quiet {
					fmt.Fprintln(cmd.OutOrStdout(), v.Name)
				}
				rows = append(rows, []string{v.Name, bytesText(v.Size), bytesText(v.Used), fmt.Sprint(v.Holders), ago(v.Created)})
			}
			if quiet {
				return nil
			}
			return printTable(cmd.OutOrStdout(), []string{"VOLUME NAME", "SIZE", "USED", "CONTAINERS", "CREATED"}, rows)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names only")
	cmd.Flags().StringVar(&format, "format", "", "print each by this Go `TEMPLATE`, or json")
	cmd.Flags().StringArrayVar(&filters, "filter", nil, "only those that match: `KEY=VALUE` of name, label, dangling")
	return cmd
}

func (a *app) listVolumes(f filter) ([]volume.Volume, error) {
	_, volumes, err := a.volumes()
	if err != nil {
		return nil, err
	}
	all, err := volumes.List()
	var list []volume.Volume
	for _, v := range all {
		if f.all(func(key, value string) bool { return matchVolume(v, key, value) }) {
			list = append(list, v)
		}
	}
	return list, err
}

func matchVolume(v volume.Volume, key, value string) bool {
	switch key {
	case "name":
		return strings.Contains(v.Name, value)
	case "dangling":
		return (v.Holders == 0) == (value == "true" || value == "1")
	}
	return hasLabel(v.Labels, value)
}

// volumeView is a volume as inspect and templates show it: docker's names, and its
// size, use and holders.
type volumeView struct {
	CreatedAt, Driver string
	Labels            map[string]string
	Mountpoint        string // the path of its disk
	Name, Scope       string
	Size, Used        int64
	Containers        int
}

func newVolumeView(v volume.Volume) volumeView {
	return volumeView{
		CreatedAt: v.Created.Format(rfc3339Nano), Driver: "local", Labels: v.Labels, Mountpoint: v.Disk,
		Name: v.Name, Scope: "local", Size: v.Size, Used: v.Used, Containers: v.Holders,
	}
}

func (a *app) volumeInspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] VOLUME...",
		Short:             "Show all there is to know of volumes, as JSON",
		Example:           `  mvm volume inspect -f '{{.Mountpoint}}' data`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, volumes, err := a.volumes()
			if err != nil {
				return err
			}
			return inspect(cmd, args, format, func(name string) (any, error) {
				v, err := volumes.Get(name)
				return newVolumeView(v), err
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "print by this Go `TEMPLATE`, or json")
	return cmd
}

func (a *app) volumeRmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm VOLUME...",
		Short:             "Remove volumes that no container has, and what is in them",
		Example:           `  mvm volume rm data`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, err := a.volumes()
			if err != nil {
				return err
			}
			return removeEach(cmd.OutOrStdout(), args, s.RemoveVolume)
		},
	}
	return cmd
}

func (a *app) volumePruneCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove volumes without a name of their own that no container has, or with --all all such",
		Args:  cobra.NoArgs,

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.listVolumes(filter{"dangling": {"true"}})
			if err != nil {
				return err
			}
			_, volumes, err := a.volumes()
			if err != nil {
				return err
			}
			var errs []error
			var freed int64
			for _, v := range list {
				if !all && !v.Nameless {
					continue
				}
				if err := volumes.Remove(v.Name); err != nil {
					errs = append(errs, err) // taken meanwhile, perhaps
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), v.Name)
				freed += v.Used
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Space freed: %s\n", units.HumanSize(float64(freed)))
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "those with a name, too")
	cmd.Flags().BoolP("force", "f", false, "for docker's sake: prune never asks")
	return cmd
}

// completeVolumes completes names of volumes.
func (a *app) completeVolumes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	if a.findRoot() == nil {
		list, _ := a.listVolumes(nil)
		for _, v := range list {
			words = append(words, v.Name)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
