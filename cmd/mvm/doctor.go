package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether containers can run on this host",
		Long: `Look at this host for what mvm needs, and say what to do about what is missing.
The exit status is 1 if no container can run here.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := doctor.Look()
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), r); err != nil {
					return err
				}
			} else {
				printReport(cmd.OutOrStdout(), r)
			}
			if !r.OK {
				return exitStatus(1)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printReport(w io.Writer, r doctor.Report) {
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%-8s %s: %s\n", c.Level, c.Name, c.Found)
		if c.Advice != "" {
			fmt.Fprintf(w, "         -> %s\n", c.Advice)
		}
	}
	if r.OK {
		fmt.Fprintln(w, "Containers can run here.")
	} else {
		fmt.Fprintln(w, "No container can run here.")
	}
}
