package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/guestinit/proto"
)

func (a *app) topCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "top CONTAINER",
		Short:             "List the processes of a container",
		Example:           "  mvm top web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeUp,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			_, c, err := a.one(args[0])
			if err != nil {
				return err
			}
			r, err := c.Ask(cmd.Context(), proto.Request{List: &proto.List{}})
			if err != nil {
				return err
			}
			list := []proto.ProcessInfo{}
			if r.Processes != nil {
				list = r.Processes.List
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printTable(cmd.OutOrStdout(), []string{"PID", "PPID", "UID", "STATE", "NI", "RSS", "TIME", "COMMAND"}, topRows(list))
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func topRows(list []proto.ProcessInfo) [][]string {
	var rows [][]string
	for _, p := range list {
		cpu := time.Duration(p.CPUMicros) * time.Microsecond
		rows = append(rows, []string{
			strconv.Itoa(p.PID), strconv.Itoa(p.PPID), strconv.FormatUint(uint64(p.UID), 10),
			visible(p.State), strconv.Itoa(p.Nice), bytesText(p.RSS),
			fmt.Sprintf("%d:%05.2f", int(cpu.Minutes()), (cpu % time.Minute).Seconds()), visible(p.Command),
		})
	}
	return rows
}

// visible is a guest's text, which must do nothing to a terminal or a table.
func visible(s string) string {
	return strings.Trim(strconv.QuoteToGraphic(s), `"`)
}
