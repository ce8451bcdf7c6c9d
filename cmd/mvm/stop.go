package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// stopFlags are stop's and restart's.
type stopFlags struct {
	signal  string
	seconds string
}

func (f *stopFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.signal, "signal", "s", "", "the `SIGNAL` to send first (default the container's, else SIGTERM)")
	cmd.Flags().StringVarP(&f.seconds, "time", "t", "", "`SECONDS` to wait before it is killed; -1 is for ever (default the container's, else 10)")
}

func (f *stopFlags) stop(ctx context.Context, c *container.Container) error {
	sig, err := parseSignal(f.signal)
	if err != nil {
		return err
	}
	patience := c.StopPatience
	if f.seconds != "" {
		n, err := strconv.Atoi(f.seconds)
		if err != nil {
			return fmt.Errorf("--time: bad number of seconds %q", f.seconds)
		}
		patience = stopPatience(n)
	}
	return c.Stop(ctx, sig, patience)
}

// stopPatience is docker's number of seconds; a negative one is for ever.
func stopPatience(seconds int) time.Duration {
	if seconds < 0 || seconds > math.MaxInt64/int(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

func (a *app) stopCommand() *cobra.Command {
	f := &stopFlags{}
	cmd := a.eachCommand("stop [OPTIONS]", "Stop containers",
		"  mvm stop web\n  mvm stop -t 1 web db", a.completeUp, f.stop)
	f.register(cmd)
	return cmd
}
