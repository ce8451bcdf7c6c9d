package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) rmCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm CONTAINER...",
		Short: "Remove containers, by name or ID",
		Example: `  mvm rm web
  mvm rm -f 3f2a`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeContainers,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			s, err := a.containers()
			if err != nil {
				return err
			}
			var errs []error
			for _, ref := range args {
				if err := s.Remove(cmd.Context(), ref, force); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), ref)
			}
			return errors.Join(errs...)
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill those that run")
	cmd.Flags().BoolP("volumes", "v", false, "for docker's sake: volumes have names, and stay")
	return cmd
}
