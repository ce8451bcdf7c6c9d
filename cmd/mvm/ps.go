package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) psCommand() *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List containers",
		Example: `  mvm ps
  mvm ps -a
  mvm ps -a --json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.containers()
			if err != nil {
				return err
			}
			list, err := s.List()
			if err != nil {
				return err
			}
			rows := []psRow{}
			for _, c := range list {
				if all || c.Status == container.Running {
					rows = append(rows, newPsRow(c))
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), rows)
			}
			return printPs(cmd, rows)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "those that do not run too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// psRow is a container as ps --json prints it.
type psRow struct {
	ID, Name, Image string
	Command         []string
	Created         string // RFC 3339
	Status          container.Status
	ExitCode        *int `json:",omitempty"` // once it has exited
	PID             int  `json:",omitempty"` // of its mvm-vmm, while it runs
	created, state  string
}

func newPsRow(c container.Container) psRow {
	row := psRow{
		ID: c.ID, Name: c.Name, Image: c.Image, Command: c.Spec.Container.Process.Args,
		Created: c.Created.Format("2006-01-02T15:04:05Z07:00"), Status: c.Status,
		created: ago(c.Created), state: string(c.Status),
	}
	switch c.Status {
	case container.Running:
		row.PID = c.VMM.PID
		row.state = "running since " + ago(c.Started)
	case container.Exited:
		row.ExitCode = &c.Exit.Code
		row.state = fmt.Sprintf("exited (%d) %s", c.Exit.Code, ago(c.Finished))
	case container.Created, container.Lost, container.Damaged:
	}
	return row
}

// maxCommand is how much of a command the table shows.
const maxCommand = 40

func printPs(cmd *cobra.Command, rows []psRow) error {
	var cells [][]string
	for _, r := range rows {
		command := []rune(strings.Join(r.Command, " "))
		if len(command) > maxCommand {
			command = append(command[:maxCommand-1], '…')
		}
		cells = append(cells, []string{r.ID, r.Image, strconv.Quote(string(command)), r.created, r.state, r.Name})
	}
	return printTable(cmd.OutOrStdout(), []string{"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAME"}, cells)
}
