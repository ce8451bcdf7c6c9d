package main

import (
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) rmCommand() *cobra.Command {
	var how container.Removal
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
			return removeEach(cmd.OutOrStdout(), args, func(ref string) error { return s.Remove(cmd.Context(), ref, how) })
		}),
	}
	cmd.Flags().BoolVarP(&how.Force, "force", "f", false, "kill those that run")
	cmd.Flags().BoolVarP(&how.Volumes, "volumes", "v", false, "remove volumes without a name, which were made for them, too")
	return cmd
}
