package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// psFlags are ps's flags as they were given.
type psFlags struct {
	all, quiet, latest, noTrunc, asJSON bool

	last    int
	filters []string
	format  string
}

func (a *app) psCommand() *cobra.Command {
	f := &psFlags{}
	cmd := &cobra.Command{
		Use:   "ps [OPTIONS]",
		Short: "List containers",
		Example: `  mvm ps
  mvm ps -a --filter label=app=web
  mvm ps -a --format '{{.ID}} {{.Status}}'
  mvm rm $(mvm ps -aq --filter status=exited)`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows, err := a.psRows(f)
			if err != nil {
				return err
			}
			return f.print(cmd, rows)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all", "a", false, "those that do not run too")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "only IDs")
	fs.BoolVarP(&f.latest, "latest", "l", false, "only the newest, whether it runs or not")
	fs.IntVarP(&f.last, "last", "n", 0, "only this `NUMBER` of the newest, whether they run or not")
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "only those that match: name, id, status, label, ancestor, exited, network or volume, as `KEY=VALUE`")
	fs.StringVar(&f.format, "format", "", "print by this Go `TEMPLATE`, or json")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "show commands in full")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) psRows(f *psFlags) ([]psRow, error) {
	filter, err := parsePsFilter(f.filters)
	if err != nil {
		return nil, err
	}
	s, err := a.containers()
	if err != nil {
		return nil, err
	}
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	last := f.last
	if f.latest {
		last = 1
	}
	all := f.all || last > 0 || filter["status"] != nil || filter["exited"] != nil
	rows := []psRow{}
	for _, c := range list {
		if (all || c.Up()) && filter.all(func(key, value string) bool { return matchContainer(c, key, value) }) {
			rows = append(rows, newPsRow(c))
		}
	}
	if last > 0 && len(rows) > last {
		rows = rows[:last]
	}
	return rows, nil
}

func (f *psFlags) print(cmd *cobra.Command, rows []psRow) error {
	w := cmd.OutOrStdout()
	switch {
	case f.asJSON:
		return printJSON(w, rows)
	case f.format != "":
		return printFormat(w, f.format, rows)
	case f.quiet:
		for _, r := range rows {
			fmt.Fprintln(w, r.ID)
		}
		return nil
	}
	return printPs(cmd, rows, f.noTrunc)
}

// psRow is a container as ps --json prints it.
type psRow struct {
	ID, Name, Image string

	Labels         map[string]string `json:",omitempty"`
	Command        []string
	Created        string // RFC 3339
	Status         container.Status
	ExitCode       *int   `json:",omitempty"` // once it has exited
	PID            int    `json:",omitempty"` // of its mvm-vmm, while it runs
	Ports          string `json:",omitempty"` // that are published, while it runs
	created, state string
}

// Names, State and RunningFor are what docker's templates know these by.
func (r psRow) Names() string           { return r.Name }
func (r psRow) State() container.Status { return r.Status }
func (r psRow) RunningFor() string      { return r.created }

func newPsRow(c container.Container) psRow {
	row := psRow{
		ID: c.ID, Name: c.Name, Image: c.Image, Labels: c.Labels, Command: c.Spec.Process.Args,
		Created: c.Created.Format("2006-01-02T15:04:05Z07:00"), Status: c.Status,
		created: ago(c.Created), state: string(c.Status),
	}
	switch c.Status {
	case container.Running, container.Paused:
		row.PID, row.Ports = c.VMM.PID, portsText(c.Network)
		row.state = "up " + units.HumanDuration(time.Since(c.Started))
		if c.Status == container.Paused {
			row.state += " (paused)"
		}
	case container.Exited:
		row.ExitCode = &c.Exit.Code
		row.state = fmt.Sprintf("exited (%d) %s", c.Exit.Code, ago(c.Finished))
	case container.Created, container.Lost, container.Damaged:
	}
	return row
}

// maxCommand is how much of a command the table shows.
const maxCommand = 40

func printPs(cmd *cobra.Command, rows []psRow, noTrunc bool) error {
	var cells [][]string
	for _, r := range rows {
		command := []rune(strings.Join(r.Command, " "))
		if len(command) > maxCommand && !noTrunc {
			command = append(command[:maxCommand-1], '…')
		}
		cells = append(cells, []string{r.ID, r.Image, strconv.Quote(string(command)), r.created, r.state, r.Ports, r.Name})
	}
	return printTable(cmd.OutOrStdout(), []string{"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAME"}, cells)
}
