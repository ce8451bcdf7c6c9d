package main

import (
	"fmt"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

// pruneCommand is docker system prune.
func (a *app) pruneCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove containers that do not run, and images that are of no use",
		Long: `Remove all containers that do not run, and then the images without a name; with
--all, all that no container has.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: interruptible(func(cmd *cobra.Command, _ []string) error {
			freed, err := a.pruneContainers(cmd)
			if err != nil {
				return err
			}
			disks, err := a.pruneImages(cmd, all)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Space freed: %s\n", units.HumanSize(float64(freed+disks)))
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "images with a name, too")
	cmd.Flags().BoolP("force", "f", false, "for docker's sake: prune never asks")
	return cmd
}

// pruneContainers removes what does not run, and says how many bytes that gave back.
func (a *app) pruneContainers(cmd *cobra.Command) (freed int64, err error) {
	s, err := a.containers()
	if err != nil {
		return 0, err
	}
	ids, freed, err := s.Prune(cmd.Context())
	for _, id := range ids {
		fmt.Fprintln(cmd.OutOrStdout(), id)
	}
	return freed, err
}

// pruneImages removes images, and says how many bytes their root disks took.
func (a *app) pruneImages(cmd *cobra.Command, all bool) (freed int64, err error) {
	s, err := a.images()
	if err != nil {
		return 0, err
	}
	gone, err := s.Prune(all)
	if err != nil {
		return 0, err
	}
	sizes := map[string]int64{} // images of the same layers share a disk
	for _, img := range gone {
		fmt.Fprintln(cmd.OutOrStdout(), displayName(img), shortID(img.ID))
		sizes[img.RootDisk] = img.Size
	}
	for _, n := range sizes {
		freed += n
	}
	return freed, nil
}
