package container

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

// A container in the background outlives the command; what cannot be started is
// gone, with the reason.
func TestRunDetached(t *testing.T) {
	for _, tt := range []struct {
		acts string
		exit control.Exit // Error is a part of the error
		err  string
		then Status // of the container, once its VMM has ended; empty: it is gone
	}{
		{acts: "start exit=3", then: Exited},
		{acts: "start die", then: Lost},
		{acts: "start fail=x", then: Lost},
		{acts: "notfound", exit: control.Exit{Code: 127, Error: "no such program"}},
		{acts: "fail=broken", err: "broken"},
		{acts: "die", err: "was killed by signal 9"},
	} {
		t.Run(tt.acts, func(t *testing.T) {
			s, o := testStore(t)
			o.Name, o.Process.Args = "name", splitActs(tt.acts)
			id, exit, err := s.RunDetached(t.Context(), self(t), o)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v; want %q", err, tt.err)
			}
			if exit.Code != tt.exit.Code || !strings.Contains(exit.Error, tt.exit.Error) {
				t.Errorf("exit %+v; want %+v", exit, tt.exit)
			}
			if tt.then != "" {
				awaitEnd(t, s, id)
			}
			checkLeft(t, s, tt.then)
		})
	}
}

// awaitEnd waits until a container does not run any more, and its lock is free.
func awaitEnd(t *testing.T, s *Store, id string) {
	t.Helper()
	lock, err := waitLock(t.Context(), s.path(containersDir, id))
	must(t, err)
	must(t, lock.Close())
}

func TestCreateStart(t *testing.T) {
	s, o := testStore(t)
	o.Name, o.Process.Args = "name", splitActs("start ignore")
	id, err := s.Create(o)
	must(t, err)
	must(t, s.Sweep())
	c, err := s.Find("name")
	must(t, err)
	if c.ID != id || c.Status != Created {
		t.Fatalf("%+v; want it created", c.State)
	}
	b := Boot{Program: self(t), Kernel: "/other", Initrd: "/other"}
	for range 2 { // the second time it runs already
		exit, err := s.Start(t.Context(), "name", b)
		if err != nil || exit.Error != "" {
			t.Fatalf("%+v, %v", exit, err)
		}
		if c, err = s.Find("name"); err != nil || c.Status != Running {
			t.Fatalf("%+v, %v; want it running", c.State, err)
		}
	}
	if err := s.Remove(t.Context(), "name", Removal{}); err == nil {
		t.Error("a running container was removed")
	}
	must(t, s.Rename("name", "other"))
	must(t, s.Remove(t.Context(), "other", Removal{Force: true}))
	checkLeft(t, s, "")
}

// Made-up names are all different.
func TestRandomNames(t *testing.T) {
	s, o := testStore(t)
	seen := map[string]bool{}
	for range 50 {
		o.Name = ""
		id, lock, err := s.create(&o)
		must(t, err)
		if o.Name == "" || seen[o.Name] {
			t.Fatalf("name %q", o.Name)
		}
		seen[o.Name] = true
		if got, err := s.find(o.Name); err != nil || got != id {
			t.Fatalf("%s is %s, %v; want %s", o.Name, got, err, id)
		}
		defer func() { _ = lock.Close() }()
	}
}

func TestRename(t *testing.T) {
	s, o := testStore(t)
	o.Name = "one"
	_, err := s.Create(o)
	must(t, err)
	o.Name = "two"
	_, err = s.Create(o)
	must(t, err)
	if err := s.Rename("one", "two"); !errors.Is(err, errTaken) {
		t.Errorf("%v; want it taken", err)
	}
	must(t, s.Rename("one", "three"))
	if _, err := s.Find("one"); err == nil {
		t.Error("the old name is still there")
	}
	c, err := s.Find("three")
	if err != nil || c.Name != "three" {
		t.Errorf("%q, %v", c.Name, err)
	}
	ids, _, err := s.Prune(t.Context())
	if err != nil || len(ids) != 2 {
		t.Errorf("%v, %v", ids, err)
	}
	checkLeft(t, s, "")
}

// A mvm-vmm killed at any moment leaves a container that is told as it is, whose
// name and disks can be used again. The command's own death is another test's.
func TestKilledAtRandom(t *testing.T) {
	s, o := testStore(t)
	o.Name, o.Process.Args = "name", splitActs("start exit=3")
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		id, err := s.Create(o)
		must(t, err)
		started := make(chan struct{})
		go func() {
			defer close(started)
			_, _ = s.Start(t.Context(), id, Boot{Program: self(t)})
		}()
		killAtRandom(t, s, id)
		<-started
		awaitEnd(t, s, id)
		must(t, s.Sweep())
		c, err := s.Find("name")
		if err != nil || c.Up() || c.Status == Exited && c.Exit.Code != 3 {
			t.Fatalf("%+v, %v", c.State, err)
		}
		must(t, s.Remove(t.Context(), "name", Removal{}))
		checkLeft(t, s, "")
	}
}

// killAtRandom kills a container's mvm-vmm a little after it was noted.
func killAtRandom(t *testing.T, s *Store, id string) {
	t.Helper()
	for range 1000 {
		c, err := read(s.path(containersDir, id))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil && c.VMM.PID != 0 {
			time.Sleep(rand.N(20 * time.Millisecond))
			if err := c.VMM.kill(); err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
}
