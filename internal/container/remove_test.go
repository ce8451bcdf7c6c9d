package container

import (
	"strings"
	"testing"
	"time"
)

// runHanging runs a container until its state says so; the returned wait waits
// for the end of Run.
func runHanging(t *testing.T, s *Store, o Options) (wait func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { // ends when the test kills the VMM
		_, err := s.Run(t.Context(), self(t), o, IO{})
		done <- err
	}()
	for {
		list, err := s.List()
		must(t, err)
		if len(list) == 1 && list[0].Status == Running {
			return func() error { return <-done }
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRemoveRunning(t *testing.T) {
	for _, remove := range []bool{false, true} {
		s, o := testStore(t)
		o.Name, o.Remove, o.Process.Args = "name", remove, splitActs("start hang")
		wait := runHanging(t, s, o)
		must(t, s.Sweep())
		if err := s.Remove(t.Context(), "name", Removal{}); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("remove without force: %v", err)
		}
		must(t, s.Remove(t.Context(), "name", Removal{Force: true}))
		if err := wait(); err == nil || !strings.Contains(err.Error(), "killed by signal 9") {
			t.Errorf("the command of a killed container says %v", err)
		}
		checkLeft(t, s, "")
	}
}

func TestFind(t *testing.T) {
	s, _ := testStore(t)
	id, lock, err := s.create(&Options{Name: "web"})
	must(t, err)
	defer func() { _ = lock.Close() }()
	for _, ref := range []string{"web", id, id[:4]} {
		if got, err := s.find(ref); err != nil || got != id {
			t.Errorf("%s means %s, %v; want %s", ref, got, err, id)
		}
	}
	for _, ref := range []string{"", "we", "..", "a/b", "zzzz", "*"} {
		if got, err := s.find(ref); err == nil {
			t.Errorf("%q means %s", ref, got)
		}
	}
}
