package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
)

// statsPeriod is between two samples, of which CPU use is the difference.
const statsPeriod = time.Second

func bytesText(n int64) string { return units.BytesSize(float64(n)) }

func (a *app) statsCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "stats [OPTIONS] [CONTAINER...]",
		Short: "Show what containers use, once a second",
		Example: `  mvm stats
  mvm stats --no-stream web`,
		ValidArgsFunction: a.completeContainers,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			for {
				list, err := a.upOrNamed(args)
				if err != nil {
					return err
				}
				rows, err := sample(cmd.Context(), list)
				if err != nil {
					return err
				}
				if !once {
					fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[J") // home, and clear to the end
				}
				if err := printTable(cmd.OutOrStdout(), []string{"CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I/O", "PIDS"}, rows); err != nil || once {
					return err
				}
			}
		}),
	}
	cmd.Flags().BoolVar(&once, "no-stream", false, "show it once")
	return cmd
}

// upOrNamed are the containers that args name, or else all that run.
func (a *app) upOrNamed(args []string) ([]container.Container, error) {
	s, err := a.containers()
	if err != nil {
		return nil, err
	}
	var list []container.Container
	for _, ref := range args {
		c, err := s.Find(ref)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(args) > 0 {
		return list, nil
	}
	all, err := s.List()
	for _, c := range all {
		if c.Up() {
			list = append(list, c)
		}
	}
	return list, err
}

// sample measures containers over statsPeriod.
func sample(ctx context.Context, list []container.Container) ([][]string, error) {
	before := map[string]int64{}
	began := time.Now()
	for i := range list {
		if u, err := usage(ctx, &list[i]); err == nil {
			before[list[i].ID] = u.CPUMicros
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(statsPeriod):
	}
	var rows [][]string
	for i := range list {
		c := &list[i]
		u, err := usage(ctx, c)
		if err != nil {
			rows = append(rows, []string{c.ID, c.Name, "--", "--", "--", "--", "--"})
			continue
		}
		rows = append(rows, statsRow(c, u, float64(u.CPUMicros-before[c.ID])/float64(time.Since(began).Microseconds())))
	}
	return rows, nil
}

func usage(ctx context.Context, c *container.Container) (proto.Usage, error) {
	r, err := c.Ask(ctx, proto.Request{Stats: &proto.Stats{}})
	if err == nil && r.Usage == nil {
		err = errors.New("the guest told nothing")
	}
	if err != nil {
		return proto.Usage{}, err
	}
	return *r.Usage, nil
}

func statsRow(c *container.Container, u proto.Usage, cpu float64) []string {
	limit := u.MemoryLimit
	if limit == 0 {
		limit = c.Spec.VM.Memory
	}
	var read, written int64
	for _, io := range u.IO {
		read += io.ReadBytes
		written += io.WriteBytes
	}
	return []string{
		c.ID, c.Name, fmt.Sprintf("%.2f%%", 100*cpu),
		bytesText(u.Memory) + " / " + bytesText(limit), fmt.Sprintf("%.2f%%", 100*float64(u.Memory)/float64(max(1, limit))),
		bytesText(read) + " / " + bytesText(written), strconv.FormatInt(u.PIDs, 10),
	}
}
