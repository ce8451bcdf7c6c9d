package container

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

func TestChanges(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	c := func(s State) map[string]Container {
		return map[string]Container{"a": {Config: Config{ID: "a", Name: "n", Created: at(1)}, State: s}}
	}
	renamed := c(State{Status: Running, Started: at(2)})
	x := renamed["a"]
	x.Name = "other"
	renamed["a"] = x
	for _, tt := range []struct {
		name          string
		before, after map[string]Container
		want          string
	}{
		{"nothing", c(State{Status: Created}), c(State{Status: Created}), ""},
		{"made", nil, c(State{Status: Created}), "1 create"},
		{"started", c(State{Status: Created}), c(State{Status: Running, Started: at(2)}), "2 start"},
		{"all at once", nil, c(State{Status: Exited, Started: at(2), Finished: at(3), Exit: control.Exit{Code: 4}}), "1 create, 2 start, 3 die exitCode=4"},
		{"paused", c(State{Status: Running, Started: at(2)}), c(State{Status: Paused, Started: at(2)}), "9 pause"},
		{"unpaused", c(State{Status: Paused, Started: at(2)}), c(State{Status: Running, Started: at(2)}), "9 unpause"},
		{"ended while paused", c(State{Status: Paused, Started: at(2)}), c(State{Status: Exited, Started: at(2), Finished: at(3)}), "3 die exitCode=0"},
		{"restarted", c(State{Status: Exited, Started: at(2), Finished: at(3)}), c(State{Status: Running, Started: at(5)}), "5 start"},
		{"killed with its process", c(State{Status: Running, Started: at(2)}), c(State{Status: Lost, Started: at(2)}), "9 die exitCode=125"},
		{"failed", c(State{Status: Running, Started: at(2)}), c(State{Status: Lost, Started: at(2), Finished: at(3)}), "3 die exitCode=125"},
		{"renamed", c(State{Status: Running, Started: at(2)}), renamed, "9 rename oldName=n"},
		{"removed", c(State{Status: Exited, Started: at(2), Finished: at(3)}), nil, "9 destroy"},
		{"removed as it ran", c(State{Status: Running, Started: at(2)}), nil, "9 die, 9 destroy"},
	} {
		var got []string
		for _, e := range changes(tt.before, tt.after, at(9)) {
			s := fmt.Sprintf("%d %s", e.Time.Unix(), e.Action)
			for k, v := range e.Attributes {
				s += " " + k + "=" + v
			}
			got = append(got, s)
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, s, tt.want)
		}
	}
}

// Events come as they happen, those of a process that is killed too.
func TestEvents(t *testing.T) {
	s, o := testStore(t)
	o.Name = "old"
	id, err := s.Create(o)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan Event)
	ended := make(chan error, 1)
	go func() { // ends by cancel
		ended <- s.Events(ctx, time.Unix(1, 0), func(e Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	expect := func(action string) Event {
		t.Helper()
		e := <-events
		if e.Action != action || e.ID != id {
			t.Fatalf("%s of %s; want %s", e.Action, e.ID, action)
		}
		return e
	}
	expect("create")
	must(t, s.Rename("old", "new"))
	expect("rename")
	c, err := s.Find("new")
	must(t, err)
	vmm := exec.Command("sleep", "1000")
	must(t, vmm.Start())
	p, err := identify(vmm.Process.Pid)
	must(t, err)
	must(t, c.setState(State{Status: Running, VMM: p, Started: time.Now()}))
	expect("start")
	must(t, vmm.Process.Kill())
	if e := expect("die"); e.Attributes["exitCode"] != "125" {
		t.Errorf("%v", e.Attributes)
	}
	_ = vmm.Wait()
	must(t, s.Remove(t.Context(), "new", Removal{}))
	expect("destroy")
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
