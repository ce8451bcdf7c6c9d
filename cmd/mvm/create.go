package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) createCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short: "Make a container without running it, and print its ID",
		Long:  `Make a container without running it, and print its ID. Options are run's.`,
		Example: `  mvm create --name web nginx
  mvm start web`,

		DisableFlagsInUseLine: true,

		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, o, err := a.describe(cmd, f, clientSignals(), args[0], args[1:], false)
			if err != nil {
				return err
			}
			id, err := s.Create(o)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), id)
			return nil
		},
	}
	f.register(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("network", a.completeNetworks) // fails only without the flag
	return cmd
}
