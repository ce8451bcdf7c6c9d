package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
)

func (a *app) rmiCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rmi IMAGE...",
		Short: "Remove images, by name or ID",
		Long: `Remove images: a name is taken from its image, an ID takes all of them. What no
other image needs is deleted. Containers made of them keep their root disks, whose space is
free when the last of them is removed.`,
		Example:           `  mvm rmi alpine`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.images()
			if err != nil {
				return err
			}
			var errs []error
			for _, ref := range args {
				err := s.Remove(ref)
				if force && errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), ref)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "be silent about images that are not there")
	return cmd
}
