package main

import (
	"fmt"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

// imageCommand groups the verbs for images as docker image does.
func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Manage images: ls, pull, load, save, rm, prune, inspect",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	ls, rm := a.imagesCommand(), a.rmiCommand()
	ls.Use, rm.Use = "ls [NAME...]", "rm IMAGE..."
	cmd.AddCommand(ls, rm, a.pullCommand(), a.loadCommand(), a.saveCommand(), a.imagePruneCommand(), a.imageInspectCommand())
	return cmd
}

func (a *app) imagePruneCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images without a name, or all that no container has",
		Long: `Remove the images that lost their name to a newer one; with --all, those with a
name, too. Images that a container was made of stay.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sum, err := a.pruneImages(cmd, all)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Root disks removed: %s\n", units.HumanSize(float64(sum)))
			return nil
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "those with a name, too")
	cmd.Flags().BoolP("force", "f", false, "for docker's sake: prune never asks")
	return cmd
}
