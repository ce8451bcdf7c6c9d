package main

import (
	"fmt"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

// containerCommand groups the verbs for containers as docker container does.
func (a *app) containerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "container",
		Short: "Manage containers: ls, rm, prune and the other verbs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	ls := a.psCommand()
	ls.Use = "ls"
	cmd.AddCommand(ls, a.containerPruneCommand(), a.runCommand(), a.createCommand(), a.startCommand(), a.stopCommand(),
		a.restartCommand(), a.killCommand(), a.rmCommand(), a.waitCommand(), a.logsCommand(), a.execCommand(), a.attachCommand(), a.cpCommand(),
		a.inspectCommand(), a.pauseCommand(), a.unpauseCommand(), a.topCommand(), a.statsCommand(), a.portCommand(), a.renameCommand(), a.updateCommand())
	return cmd
}

func (a *app) containerPruneCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "prune",
		Short:             "Remove all containers that do not run",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: interruptible(func(cmd *cobra.Command, _ []string) error {
			freed, err := a.pruneContainers(cmd)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Space freed: %s\n", units.HumanSize(float64(freed)))
			return nil
		}),
	}
	cmd.Flags().BoolP("force", "f", false, "for docker's sake: prune never asks")
	return cmd
}
