package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// updateFlags are update's flags as they were given.
type updateFlags struct {
	cpus, memory string
	restart      string
	pids         int64
	rate         rateFlags
}

func (a *app) updateCommand() *cobra.Command {
	f := &updateFlags{}
	cmd := &cobra.Command{
		Use:   "update [OPTIONS] CONTAINER...",
		Short: "Change limits of containers, and when they are restarted, while they run",
		Long: `Change limits of containers, and when they are restarted, at once and for the next
start. One that runs can have no more CPUs and memory than its microVM was made with.
"none" takes a rate away.`,
		Example: `  mvm update --disk-bps 20m --net-tx-bps 5m:1m web
  mvm update --cpus 0.5 --disk-bps none web
  mvm update --restart always web`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeContainers,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == 0 {
				return errors.New("nothing to change: see mvm update --help")
			}
			u, err := f.parse()
			if err != nil {
				return err
			}
			s, err := a.containers()
			if err != nil {
				return err
			}
			return a.each(cmd, args, func(ctx context.Context, c *container.Container) error {
				return s.Update(ctx, c.ID, u)
			})
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.cpus, "cpus", "", "`NUMBER` of CPUs it may use")
	fs.StringVarP(&f.memory, "memory", "m", "", "`SIZE` of the memory it may use")
	fs.Int64Var(&f.pids, "pids-limit", 0, "`NUMBER` of processes and threads it may have at once; -1 is unlimited")
	fs.StringVar(&f.restart, "restart", "", "restart it when it has ended, by `POLICY`: no, on-failure[:MAX], always or unless-stopped")
	f.rate.register(fs)
	return cmd
}

func (f *updateFlags) parse() (u container.Update, err error) {
	if f.cpus != "" {
		if u.CPUs, err = container.ParseCPUs(f.cpus); err != nil {
			return u, fmt.Errorf("--cpus: %w", err)
		}
	}
	if f.restart != "" {
		r, err := parseRestart(f.restart)
		if err != nil {
			return u, fmt.Errorf("--restart: %w", err)
		}
		u.Restart = &r
	}
	if f.memory != "" {
		if u.Memory, err = parseMemory(f.memory); err != nil {
			return u, fmt.Errorf("--memory: %w", err)
		}
	}
	if err := checkPIDs(f.pids); err != nil {
		return u, err
	}
	u.PIDs = f.pids
	u.Devices, err = f.rate.parse()
	return u, err
}
