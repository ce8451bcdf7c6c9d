package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
)

func (a *app) attachCommand() *cobra.Command {
	f := clientFlags{}
	var noStdin bool
	cmd := &cobra.Command{
		Use:   "attach [OPTIONS] CONTAINER",
		Short: "Connect to a running container's first process",
		Long: `Connect to the streams of a running container's first process. Any number of
commands may. One with a terminal is left with the detach keys (ctrl-p ctrl-q).
A command that leaves its output unread for 10 seconds is cut off.`,
		Example:           "  mvm attach web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeUp,
		RunE: func(cmd *cobra.Command, args []string) error {
			signals := clientSignals()
			_, c, err := a.one(args[0])
			if err != nil {
				return err
			}
			if c.Status == container.Paused {
				return fmt.Errorf("container %s is paused: let it go on with mvm unpause", args[0])
			}
			f.tty = c.Spec.Process.TTY != nil
			f.interactive = !noStdin && (c.Spec.Process.Stdin || f.tty && isTerminal())
			return f.connect(signals, func(client container.Client) (control.Exit, error) {
				return c.Attach(cmd.Context(), client)
			})
		},
	}
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "send it nothing")
	cmd.Flags().StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, "the `KEYS` that leave it running")
	return cmd
}
