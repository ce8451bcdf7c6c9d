package container

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name    string
		acts    string // of the VMM
		signals []os.Signal
		timeout time.Duration
		exit    control.Exit // Error is a part of the error
		err     string       // part of the error
		stays   Status       // of the container; empty: it is gone
	}{
		{name: "exit 0", acts: "start exit=0", stays: Exited},
		{name: "exit 3", acts: "start exit=3", exit: control.Exit{Code: 3}, stays: Exited},
		{name: "not found", acts: "notfound", exit: control.Exit{Code: 127, Error: "no such program?[2J"}},
		{name: "impossible status", acts: "start exit=256", exit: control.Exit{Code: 125, Error: "256"}, stays: Exited},
		{name: "signal", acts: "start signal", signals: []os.Signal{syscall.SIGTERM}, exit: control.Exit{Code: 143, Signal: 15}, stays: Exited},
		{name: "signal before the start", acts: "signal", signals: []os.Signal{syscall.SIGHUP}, exit: control.Exit{Code: 129, Signal: 1}},
		{name: "two Ctrl-C", acts: "hang", signals: []os.Signal{os.Interrupt, os.Interrupt}, exit: control.Exit{Code: 130, Error: "Ctrl-C"}},
		{name: "timeout", acts: "start signal", timeout: 50 * time.Millisecond, exit: control.Exit{Code: 124, Error: "--timeout of 50ms"}, stays: Exited},
		{name: "VMM fails", acts: "fail=no_memory|one\n\x1b[31mtwo\n", err: "no_memory\nThe guest's console ends with:\n  one\n  ?[31mtwo"},
		{name: "VMM fails late", acts: "start fail=lost", err: "lost", stays: Lost},
		{name: "VMM killed", acts: "start die", err: "killed by signal 9", stays: Lost},
		{name: "VMM killed early", acts: "die", err: "killed by signal 9"},
		{name: "VMM quits", acts: "start quit", err: "exit status 3", stays: Lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, o := testStore(t)
			o.Timeout, o.Name = tt.timeout, "name"
			o.Process.Args = splitActs(tt.acts)
			signals := make(chan os.Signal, 4)
			for _, sig := range tt.signals {
				signals <- sig
			}
			exit, err := s.Run(t.Context(), self(t), o, IO{Signals: signals})
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v; want %q", err, tt.err)
			}
			if exit.Code != tt.exit.Code || exit.Signal != tt.exit.Signal || !strings.Contains(exit.Error, tt.exit.Error) {
				t.Errorf("exit %+v; want %+v", exit, tt.exit)
			}
			checkLeft(t, s, tt.stays)
		})
	}
}

// splitActs splits at spaces, which no act has in it.
func splitActs(s string) []string { return strings.Split(s, " ") }

// checkLeft checks that there is just one container of that status, named, or
// nothing at all.
func checkLeft(t *testing.T, s *Store, status Status) {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	if status == "" {
		if n := entries(t, s.path(containersDir)) + entries(t, s.path(namesDir)); n != 0 || len(list) != 0 {
			t.Errorf("%d folders and names are left, containers %v", n, list)
		}
		return
	}
	if len(list) != 1 || list[0].Status != status {
		t.Fatalf("containers %+v; want one that is %s", list, status)
	}
	if id, err := s.find("name"); err != nil || id != list[0].ID {
		t.Errorf("its name means %q, %v; want %s", id, err, list[0].ID)
	}
	if err := s.Remove(t.Context(), "name", Removal{}); err != nil {
		t.Fatal(err)
	}
	checkLeft(t, s, "")
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	e, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

func TestRunRemoves(t *testing.T) {
	for _, acts := range []string{"start exit=0", "start die", "fail=x", "start fail=x"} {
		s, o := testStore(t)
		o.Remove, o.Name, o.Process.Args = true, "name", splitActs(acts)
		_, _ = s.Run(t.Context(), self(t), o, IO{})
		checkLeft(t, s, "")
	}
}

// A failure on mvm's side ends the VMM and leaves nothing.
func TestRunFails(t *testing.T) {
	for name, spoil := range map[string]func(*Store, *Options, *string){
		"no root disk": func(_ *Store, o *Options, _ *string) { o.RootDisk = "/nowhere" },
		"no VMM":       func(_ *Store, _ *Options, program *string) { *program = "/nowhere/mvm-vmm" },
		"bad name":     func(_ *Store, o *Options, _ *string) { o.Name = "../x" },
		"no layers": func(s *Store, o *Options, _ *string) {
			o.ReadOnly = false
			if err := os.Remove(s.path(layersDir)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := testStore(t)
			o.Process.Args = []string{"ignore"}
			program := self(t)
			spoil(s, &o, &program)
			if _, err := s.Run(t.Context(), program, o, IO{}); err == nil {
				t.Error("no error")
			}
			checkLeft(t, s, "")
		})
	}
}

func TestRunCancelled(t *testing.T) {
	for _, acts := range []string{"start ignore", "hang", "flood"} {
		s, o := testStore(t)
		o.Process.Args = splitActs(acts)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := s.Run(ctx, self(t), o, IO{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v; want the context's", acts, err)
		}
	}
}

func TestRunPassesFiles(t *testing.T) {
	s, o := testStore(t)
	o.Process.Args = splitActs("start echo exit=0")
	in, err := os.Create(s.path("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	text := strings.Repeat("\x00\xffbinary\r\n", 1000)
	if _, err := in.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(s.path("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if _, err := s.Run(t.Context(), self(t), o, IO{Stdin: in, Stdout: out}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out.Name()); err != nil || string(got) != text {
		t.Errorf("%d bytes of %d came through, %v", len(got), len(text), err)
	}
}
