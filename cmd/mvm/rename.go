package main

import (
	"github.com/spf13/cobra"
)

func (a *app) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "rename CONTAINER NAME",
		Short:             "Give a container another name",
		Example:           "  mvm rename web old-web",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeContainers,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.containers()
			if err != nil {
				return err
			}
			return s.Rename(args[0], args[1])
		},
	}
}
