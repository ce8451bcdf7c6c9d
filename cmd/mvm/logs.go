package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/logfile"
)

// logsFlags are logs' flags as they were given.
type logsFlags struct {
	follow, timestamps bool
	since, until, tail string
}

func (a *app) logsCommand() *cobra.Command {
	f := &logsFlags{}
	cmd := &cobra.Command{
		Use:   "logs [OPTIONS] CONTAINER",
		Short: "Print what a container printed",
		Long: `Print what a container printed: stdout to stdout, stderr to stderr.

A container's log is bounded (mvm run --log-opt); one that ran in the foreground
with --rm has none.`,
		Example: `  mvm logs web
  mvm logs -f --tail 10 web
  mvm logs -t --since 10m web`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeContainers,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			_, c, err := a.one(args[0])
			if err != nil {
				return err
			}
			return f.print(cmd.Context(), &c)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.follow, "follow", "f", false, "go on until the container ends")
	fs.BoolVarP(&f.timestamps, "timestamps", "t", false, "put its time before each line")
	fs.StringVar(&f.since, "since", "", "from this `TIME` on: RFC 3339, Unix seconds, or how long ago (10m)")
	fs.StringVar(&f.until, "until", "", "up to this `TIME`")
	fs.StringVarP(&f.tail, "tail", "n", "all", "only this `NUMBER` of lines at the end")
	return cmd
}

func (f *logsFlags) print(ctx context.Context, c *container.Container) error {
	o := logfile.Options{Timestamps: f.timestamps, Tail: -1}
	var err error
	if o.Since, err = parseTime(f.since, time.Now()); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if o.Until, err = parseTime(f.until, time.Now()); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	if f.tail != "all" {
		n, err := strconv.Atoi(f.tail)
		if err != nil {
			return fmt.Errorf("--tail: bad number %q: want a number of lines, or all", f.tail)
		}
		o.Tail = max(n, -1)
	}
	if f.follow && c.Up() {
		w, err := c.Watch(ctx)
		if err != nil {
			return err
		}
		defer w.Close()
		o.Wait = w.Wait
	}
	err = logfile.Print(ctx, c.Log(), o, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.Spec.Log == nil:
		return fmt.Errorf("container %s has no log: it runs in the foreground with --rm, or with --log-driver none", c.Label())
	case errors.Is(err, fs.ErrNotExist) && c.Status == container.Created:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the log of container %s is gone: it was removed", c.Label())
	}
	return err
}

// parseTime reads a moment as docker does; zero for "".
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Unix(0, int64(f*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("bad time %q: want 2006-01-02T15:04:05Z, Unix seconds, or how long ago (90s, 10m)", s)
}
