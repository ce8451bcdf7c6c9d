package main

import (
	"fmt"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/kernel"
)

func (a *app) kernelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Show the guest kernel that run uses",
		Long: `Show the guest kernel that run uses unless it is given another (run --kernel). It
is built into mvm, and written to mvm's folder when it is first used.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := kernel.Open(a.root)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), k)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Linux %s, flavour %s, %s\nsha256:%s\n%s\n",
				k.Version, k.Flavour, units.HumanSize(float64(k.Size)), k.Digest, k.Path)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
