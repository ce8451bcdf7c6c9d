package container

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mvm-project/mvm/internal/control"
)

// dead is a process that is no more, as a killed command leaves it recorded.
func dead(t *testing.T) Process {
	t.Helper()
	p, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p.Start++ // another process, under a number that is in use
	return p
}

// A command killed after any step of a container's life leaves what the next
// command clears away, or what the user may want.
func TestKilledAfterEachStep(t *testing.T) {
	type step struct {
		name string
		do   func(t *testing.T, s *Store, id string, o Options)
	}
	var c *Container
	steps := []step{
		{"create", func(*testing.T, *Store, string, Options) {}},
		{"link", func(t *testing.T, s *Store, id string, o Options) {
			must(t, os.Link(o.RootDisk, s.path(containersDir, id, imageFile)))
			must(t, os.Remove(s.path(containersDir, id, imageFile)))
		}},
		{"half a config", func(t *testing.T, s *Store, id string, _ Options) {
			must(t, os.WriteFile(s.path(containersDir, id, configFile+".new"), []byte("{"), 0o600))
		}},
		{"fill", func(t *testing.T, s *Store, id string, o Options) {
			var err error
			c, err = s.fill(id, o)
			must(t, err)
		}},
		{"run", func(t *testing.T, _ *Store, _ string, _ Options) {
			must(t, c.setState(State{Status: Running, VMM: dead(t)}))
		}},
		{"half a state", func(t *testing.T, _ *Store, _ string, _ Options) {
			must(t, os.WriteFile(filepath.Join(c.dir, stateFile+".new"), []byte("{"), 0o600))
		}},
		{"finish", func(t *testing.T, _ *Store, _ string, _ Options) {
			must(t, c.setState(State{Status: Exited, Exit: control.Exit{Code: 3}}))
		}},
		{"release", func(t *testing.T, s *Store, id string, _ Options) { must(t, s.release(id)) }},
		{"unlink config", func(t *testing.T, _ *Store, _ string, _ Options) {
			must(t, os.Remove(filepath.Join(c.dir, configFile)))
		}},
	}
	left := func(done int, remove bool) Status { // after that many steps
		switch {
		case remove && done > 3, done <= 4, done == len(steps):
			return ""
		case done <= 6:
			return Lost
		}
		return Exited
	}
	for _, remove := range []bool{false, true} {
		for done := 1; done <= len(steps); done++ {
			t.Run(steps[done-1].name, func(t *testing.T) {
				s, o := testStore(t)
				o.Name, o.Remove = "name", remove
				id, lock, err := s.create(&Options{Name: o.Name})
				must(t, err)
				for _, step := range steps[:done] {
					step.do(t, s, id, o)
				}
				must(t, s.Sweep()) // by another command, while this one lives
				if !exists(s.path(containersDir, id)) {
					t.Fatal("a container was swept away from under its command")
				}
				must(t, lock.Close()) // the command dies
				must(t, s.Sweep())
				list, err := s.List()
				must(t, err)
				switch want := left(done, remove); {
				case want == "" && (len(list) != 0 || entries(t, s.path(containersDir)) != 0 || entries(t, s.path(namesDir)) != 0):
					t.Errorf("left: %+v", list)
				case want != "" && (len(list) != 1 || list[0].Status != want):
					t.Errorf("containers %+v; want one that is %s", list, want)
				}
				_, next, err := s.create(&Options{Name: "other"})
				must(t, err)
				_ = next.Close()
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A name left by a dead command is given to the next that asks.
func TestNameOfLeftover(t *testing.T) {
	s, _ := testStore(t)
	_, lock, err := s.create(&Options{Name: "name"})
	must(t, err)
	must(t, lock.Close())
	_, lock, err = s.create(&Options{Name: "name"})
	must(t, err)
	defer func() { _ = lock.Close() }()
	if _, _, err := s.create(&Options{Name: "name"}); !errors.Is(err, errTaken) {
		t.Errorf("a name was given twice: %v", err)
	}
	must(t, os.Symlink("000000000000", s.path(namesDir, "stale")))
	_, other, err := s.create(&Options{Name: "stale"})
	must(t, err)
	_ = other.Close()
}

// Of many that want one name at once, one gets it, whoever sweeps.
func TestNameRace(t *testing.T) {
	s, _ := testStore(t)
	for range 10 {
		var wg sync.WaitGroup
		got := make(chan *os.File, 16)
		for range cap(got) {
			wg.Go(func() {
				if _, lock, err := s.create(&Options{Name: "name"}); err == nil {
					got <- lock
				} else if !errors.Is(err, errTaken) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if err := s.Sweep(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		close(got)
		if len(got) != 1 {
			t.Fatalf("%d got the name", len(got))
		}
		must(t, (<-got).Close())
		must(t, s.Sweep())
	}
	checkLeft(t, s, "")
}

func TestDamaged(t *testing.T) {
	s, o := testStore(t)
	id, lock, err := s.create(&Options{Name: "name"})
	must(t, err)
	c, err := s.fill(id, o)
	must(t, err)
	must(t, c.setState(State{Status: Exited}))
	must(t, lock.Close())
	must(t, os.WriteFile(filepath.Join(c.dir, stateFile), nil, 0o600)) // as after a loss of power
	must(t, s.Sweep())
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Status != Lost {
		t.Errorf("%+v, %v; want it lost", list, err)
	}
	must(t, os.WriteFile(filepath.Join(c.dir, configFile), []byte("{"), 0o600))
	must(t, s.Sweep())
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Status != Damaged {
		t.Errorf("%+v, %v; want it damaged", list, err)
	}
	must(t, s.Remove(t.Context(), "name", Removal{}))
	checkLeft(t, s, "")
}
