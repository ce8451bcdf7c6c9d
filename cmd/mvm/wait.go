package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) waitCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "wait CONTAINER...",
		Short:             "Wait until containers have ended, and print their exit statuses",
		Example:           "  mvm wait web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeContainers,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			for _, ref := range args {
				_, c, err := a.one(ref)
				if err != nil {
					return err
				}
				exit, err := c.Wait(cmd.Context())
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), exit.Code)
			}
			return nil
		}),
	}
}
