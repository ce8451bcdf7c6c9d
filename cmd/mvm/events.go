package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// eventsFlags are events' flags as they were given.
type eventsFlags struct {
	since, until, format string
	filters              []string
}

func (a *app) eventsCommand() *cobra.Command {
	f := &eventsFlags{}
	cmd := &cobra.Command{
		Use:   "events [OPTIONS]",
		Short: "Tell what happens to containers, as it happens",
		Long: `Tell what happens to containers, as it happens: create, start, die, pause,
unpause, rename, destroy. There is no daemon to remember more than the containers'
own folders do: with --since, those that are still there begin with their creation,
last start and end.`,
		Example: `  mvm events
  mvm events --filter event=die --format '{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}'
  mvm events --since 1h --until 0s`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: interruptible(func(cmd *cobra.Command, _ []string) error {
			return a.events(cmd, f)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.since, "since", "", "from this `TIME` on: RFC 3339, Unix seconds, or how long ago (10m)")
	fs.StringVar(&f.until, "until", "", "up to this `TIME`, and end then")
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "only those that match: container, event, image, label or type, as `KEY=VALUE`")
	fs.StringVar(&f.format, "format", "", "print by this Go `TEMPLATE`, or json")
	return cmd
}

// event is an event as docker prints it in JSON.
type event struct {
	Type   string
	Action string
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	Time     int64 `json:"time"`
	TimeNano int64 `json:"timeNano"`
}

func newEvent(e container.Event) event {
	v := event{Type: "container", Action: e.Action, Time: e.Time.Unix(), TimeNano: e.Time.UnixNano()}
	v.Actor.ID, v.Actor.Attributes = e.ID, map[string]string{}
	maps.Copy(v.Actor.Attributes, e.Labels)
	maps.Copy(v.Actor.Attributes, e.Attributes)
	v.Actor.Attributes["image"], v.Actor.Attributes["name"] = e.Image, e.Name
	return v
}

func (a *app) events(cmd *cobra.Command, f *eventsFlags) error {
	now := time.Now()
	since, err := parseTime(f.since, now)
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	until, err := parseTime(f.until, now)
	if err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	filter, err := parseFilter(f.filters, "container", "event", "image", "label", "type")
	if err != nil {
		return err
	}
	s, err := a.containers()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	err = s.Events(ctx, since, func(e container.Event) error {
		if !until.IsZero() && e.Time.After(until) || !filter.all(func(key, value string) bool { return matchEvent(e, key, value) }) {
			return nil
		}
		return printEvent(cmd.OutOrStdout(), f.format, newEvent(e))
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func matchEvent(e container.Event, key, value string) bool {
	switch key {
	case "container":
		return e.Name == value || strings.HasPrefix(e.ID, value)
	case "event":
		return e.Action == value
	case "type":
		return value == "container"
	case "image":
		return e.Image == value
	}
	return hasLabel(e.Labels, value)
}

// printEvent prints docker's line: time, type, action, ID (attributes).
func printEvent(w io.Writer, format string, e event) error {
	if format != "" {
		return printFormat(w, format, []event{e})
	}
	var attributes []string
	for _, name := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
		attributes = append(attributes, name+"="+e.Actor.Attributes[name])
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s (%s)\n", time.Unix(0, e.TimeNano).Format("2006-01-02T15:04:05.000000000Z07:00"),
		e.Type, e.Action, e.Actor.ID, strings.Join(attributes, ", "))
	return err
}
