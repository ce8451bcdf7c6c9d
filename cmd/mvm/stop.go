package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// stopFlags are stop's and restart's.
type stopFlags struct {
	signal  string
	seconds int
}

func (f *stopFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.signal, "signal", "s", "", "the `SIGNAL` to send first (default the container's, else SIGTERM)")
	cmd.Flags().IntVarP(&f.seconds, "time", "t", -1, "`SECONDS` to wait before it is killed (default the container's, else 10)")
}

func (f *stopFlags) stop(ctx context.Context, c *container.Container) error {
	sig, err := parseSignal(f.signal)
	if err != nil {
		return err
	}
	return c.Stop(ctx, sig, time.Duration(f.seconds)*time.Second)
}

func (a *app) stopCommand() *cobra.Command {
	f := &stopFlags{}
	cmd := a.eachCommand("stop [OPTIONS]", "Stop containers",
		"  mvm stop web\n  mvm stop -t 1 web db", f.stop)
	f.register(cmd)
	return cmd
}
