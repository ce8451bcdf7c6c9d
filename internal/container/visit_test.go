package container

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/mvm-project/mvm/internal/control"
)

// A visit leaves nothing behind in a container's state, and nobody else works on
// the container meanwhile.
func TestVisit(t *testing.T) {
	s, o := testStore(t)
	o.Name = "name"
	id, err := s.Create(o)
	must(t, err)
	c, err := s.Find(id)
	must(t, err)
	ended := State{Status: Exited, Exit: control.Exit{Code: 3}}
	must(t, c.setState(ended))
	b := Boot{Program: self(t), Kernel: "/kernel", Initrd: "/initrd"}
	visited, leave, err := s.Visit(t.Context(), "name", b)
	must(t, err)
	if visited.ID != id {
		t.Errorf("visited %s", visited.ID)
	}
	dir := s.path(containersDir, id)
	if _, err := lockDir(dir, false); !errors.Is(err, errBusy) {
		t.Errorf("the lock: %v", err)
	}
	if now, err := read(dir); err != nil || now.State != ended {
		t.Errorf("meanwhile: %+v, %v", now.State, err)
	}
	must(t, leave())
	if now, err := read(dir); err != nil || now.State != ended {
		t.Errorf("afterwards: %+v, %v", now.State, err)
	}
	awaitEnd(t, s, id)
}

func TestVisitFails(t *testing.T) {
	s, o := testStore(t)
	o.Name, o.Hostname = "name", "fails"
	id, err := s.Create(o)
	must(t, err)
	if _, _, err := s.Visit(t.Context(), "name", Boot{Program: self(t)}); err == nil || !strings.Contains(err.Error(), "no memory") {
		t.Error(err)
	}
	if _, _, err := s.Visit(t.Context(), "other", Boot{Program: self(t)}); err == nil {
		t.Error("there is no such container")
	}
	// One that runs needs no boot.
	c, err := s.Find(id)
	must(t, err)
	p, err := identify(os.Getpid())
	must(t, err)
	must(t, c.setState(State{Status: Running, VMM: p}))
	_, leave, err := s.Visit(t.Context(), "name", Boot{Program: "/none"})
	must(t, err)
	must(t, leave())
}
