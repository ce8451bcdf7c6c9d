package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mvm-project/mvm/internal/ext4"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "volumes"), ext4.Templates{Dir: t.TempDir()})
	must(t, err)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, s *Store) string {
	t.Helper()
	list, err := s.List()
	must(t, err)
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	return strings.Join(names, " ")
}

func TestLife(t *testing.T) {
	s := open(t)
	must(t, s.Create(Volume{Name: "b", Size: ext4.MinSize, Labels: map[string]string{"x": "y"}}))
	if err := s.Create(Volume{Name: "b", Size: ext4.MinSize}); !errors.Is(err, ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, s.Take("a", link, false)) // made for that
	must(t, s.Take("b", link+"2", false))
	if got := names(t, s); got != "a b" {
		t.Errorf("volumes %q", got)
	}
	b, err := s.Get("b")
	must(t, err)
	if b.Size != ext4.MinSize || b.Labels["x"] != "y" || b.Holders != 1 || b.Used == 0 || b.Created.IsZero() {
		t.Errorf("%+v", b)
	}
	if fi, err := os.Stat(b.Disk); err != nil || fi.Size() != ext4.MinSize {
		t.Errorf("its disk: %v, %v", fi, err)
	}
	if err := s.Remove("b"); !errors.Is(err, ErrInUse) {
		t.Errorf("removed under a container: %v", err)
	}
	must(t, os.Remove(link+"2"))
	must(t, s.Remove("b"))
	if err := s.Remove("b"); err == nil || !strings.Contains(err.Error(), `no volume "b"`) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.Get("b"); err == nil {
		t.Error("it is still there")
	}
	if got := names(t, s); got != "a" {
		t.Errorf("volumes %q", got)
	}
}

func TestNames(t *testing.T) {
	s := open(t)
	for _, name := range []string{"", ".", "..", "-a", "a/b", "a b", ".new-1", strings.Repeat("a", 129), "a\n"} {
		link := filepath.Join(t.TempDir(), "link")
		if s.Create(Volume{Name: name, Size: ext4.MinSize}) == nil || s.Take(name, link, false) == nil || s.Remove(name) == nil {
			t.Errorf("%q was taken", name)
		}
		if _, err := s.Get(name); err == nil {
			t.Errorf("%q is there", name)
		}
	}
}

// TestLeftovers: what killed commands left is no volume, and goes; a damaged volume
// can be removed.
func TestLeftovers(t *testing.T) {
	s := open(t)
	must(t, os.MkdirAll(filepath.Join(s.dir, ".new-1", "a"), 0o700))
	must(t, os.MkdirAll(filepath.Join(s.dir, "damaged"), 0o700))
	if got := names(t, s); got != "" {
		t.Errorf("volumes %q", got)
	}
	if _, err := s.Get("damaged"); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("damaged: %v", err)
	}
	must(t, s.Remove("damaged"))
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestTogether makes, takes and removes one volume at once: every link is to a
// whole disk, and a volume that is taken stays.
func TestTogether(t *testing.T) {
	s, dir := open(t), t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 10 {
				link := filepath.Join(dir, string(rune('a'+i)))
				if err := s.Take("v", link, false); err != nil {
					t.Error(err)
					return
				}
				if err := s.Remove("v"); !errors.Is(err, ErrInUse) {
					t.Errorf("removed: %v", err)
				}
				if fi, err := os.Stat(link); err != nil || fi.Size() != ext4.DefaultSize {
					t.Errorf("%v, %v", fi, err)
				}
				if err := os.Remove(link); err != nil {
					t.Error(err)
				}
				_ = s.Remove("v") // others may have it
			}
		})
	}
	all.Wait()
	_ = s.Remove("v")
	if got := names(t, s); got != "" {
		t.Errorf("left: %q", got)
	}
}

// TestDrop: a volume goes with the last container that has it.
func TestDrop(t *testing.T) {
	s := open(t)
	one, two := filepath.Join(t.TempDir(), "link"), filepath.Join(t.TempDir(), "link")
	must(t, s.Take("a", one, true))
	must(t, s.Take("a", two, false))
	if a, err := s.Get("a"); err != nil || !a.Nameless || a.Holders != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	must(t, s.Drop("a", one))
	if a, err := s.Get("a"); err != nil || a.Holders != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if err := s.Drop("a", one); err == nil {
		t.Error("given up twice")
	}
	must(t, s.Drop("a", two))
	if got := names(t, s); got != "" {
		t.Errorf("volumes %q", got)
	}
	must(t, s.Take("a", one, true))
	must(t, os.RemoveAll(s.path("a"))) // by a user's own hand
	must(t, s.Drop("a", one))
}
