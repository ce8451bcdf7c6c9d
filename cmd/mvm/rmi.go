package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) rmiCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rmi IMAGE...",
		Short: "Remove images, by name or ID",
		Long: `Remove images. Containers made of them keep their root disks, whose space is
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
				if err := s.Remove(ref); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), ref)
			}
			return errors.Join(errs...)
		},
	}
}
