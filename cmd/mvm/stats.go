package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
)

// statsPeriod is between two samples, of which CPU use is the difference.
const statsPeriod = time.Second

func bytesText(n int64) string { return units.BytesSize(float64(n)) }

// statsFlags are stats' flags as they were given.
type statsFlags struct {
	once, asJSON bool

	format string
}

func (a *app) statsCommand() *cobra.Command {
	f := &statsFlags{}
	cmd := &cobra.Command{
		Use:   "stats [OPTIONS] [CONTAINER...]",
		Short: "Show what containers use, once a second",
		Example: `  mvm stats
  mvm stats --no-stream web
  mvm stats --no-stream --format '{{.Name}} {{.Memory}}'`,
		ValidArgsFunction: a.completeUp,
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
				if err := f.print(cmd.OutOrStdout(), rows); err != nil || f.once {
					return err
				}
			}
		}),
	}
	cmd.Flags().BoolVar(&f.once, "no-stream", false, "show it once")
	cmd.Flags().StringVar(&f.format, "format", "", "print by this Go `TEMPLATE`, or json")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// statsRow is what a container uses as stats --json prints it: CPU is 1 for the
// whole time of one CPU, and sizes are in bytes. One that does not run uses nothing.
// Throttled is for how long, in nanoseconds, its limits held it back so far.
type statsRow struct {
	ID, Name string
	Running  bool

	CPU                     float64
	Memory, MemoryLimit     int64
	NetReceived, NetSent    uint64
	BlockRead, BlockWritten int64
	PIDs                    int64

	ThrottledDisk, ThrottledReceive, ThrottledSend, ThrottledLog time.Duration
}

func (f *statsFlags) print(w io.Writer, rows []statsRow) error {
	switch {
	case f.asJSON:
		return printJSON(w, rows)
	case f.format != "":
		return printFormat(w, f.format, rows)
	case !f.once:
		fmt.Fprint(w, "\x1b[H\x1b[J") // home, and clear to the end
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, r.cells())
	}
	return printTable(w, []string{"CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS", "THROTTLED DISK / RX / TX / LOG"}, cells)
}

func (r statsRow) cells() []string {
	if !r.Running {
		return []string{r.ID, r.Name, "--", "--", "--", "--", "--", "--", "--"}
	}
	return []string{
		r.ID, r.Name, fmt.Sprintf("%.2f%%", 100*r.CPU),
		bytesText(r.Memory) + " / " + bytesText(r.MemoryLimit), fmt.Sprintf("%.2f%%", 100*float64(r.Memory)/float64(max(1, r.MemoryLimit))),
		bytesText(int64(r.NetReceived)) + " / " + bytesText(int64(r.NetSent)),
		bytesText(r.BlockRead) + " / " + bytesText(r.BlockWritten), strconv.FormatInt(r.PIDs, 10),
		throttledText(r.ThrottledDisk) + " / " + throttledText(r.ThrottledReceive) + " / " + throttledText(r.ThrottledSend) + " / " + throttledText(r.ThrottledLog),
	}
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
func sample(ctx context.Context, list []container.Container) ([]statsRow, error) {
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
	rows := make([]statsRow, len(list))
	for i := range list {
		c := &list[i]
		rows[i] = statsRow{ID: c.ID, Name: c.Name}
		if u, err := usage(ctx, c); err == nil {
			cpu := float64(u.CPUMicros-before[c.ID]) / float64(time.Since(began).Microseconds())
			rows[i] = newStatsRow(c, u, cpu)
			t, _ := c.Traffic(ctx) // one that ends meanwhile has none
			rows[i].setTraffic(t)
		}
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

func newStatsRow(c *container.Container, u proto.Usage, cpu float64) statsRow {
	r := statsRow{ID: c.ID, Name: c.Name, Running: true, CPU: cpu, Memory: u.Memory, MemoryLimit: u.MemoryLimit, PIDs: u.PIDs}
	if r.MemoryLimit == 0 {
		r.MemoryLimit = c.Spec.VM.Memory
	}
	for _, io := range u.IO {
		r.BlockRead += io.ReadBytes
		r.BlockWritten += io.WriteBytes
	}
	return r
}

func (r *statsRow) setTraffic(t control.Traffic) {
	r.NetReceived, r.NetSent = t.RX.Bytes, t.TX.Bytes
	r.ThrottledDisk, r.ThrottledReceive, r.ThrottledSend, r.ThrottledLog = t.Disk.Throttled, t.RX.Throttled, t.TX.Throttled, t.Log.Throttled
}
