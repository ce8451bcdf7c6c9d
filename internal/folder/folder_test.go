package folder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"a", Unstable + "1", "a/" + Unstable + "2"} {
		if err := os.Mkdir(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	want := errors.New("of f")
	err := Locked(dir, []string{Unstable + "*", "*/" + Unstable + "*"}, func() error {
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 || !Exists(filepath.Join(dir, "a")) || Exists(filepath.Join(dir, "a", Unstable+"2")) {
			t.Errorf("there is %q", left)
		}
		other, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := Flock(other, unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("a second lock: %v", err)
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, "a"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestFullDisk(t *testing.T) {
	for _, err := range []error{unix.ENOSPC, unix.EDQUOT} {
		got := FullDisk(err, ", or wait")
		if !errors.Is(got, err) || got.Error() != "the disk is full: free some space, or wait: "+err.Error() {
			t.Errorf("%v", got)
		}
	}
	if err := FullDisk(unix.EIO, ""); err != unix.EIO { //nolint:errorlint // this very error
		t.Errorf("%v", err)
	}
	if err := FullDisk(nil, ""); err != nil {
		t.Errorf("%v", err)
	}
}
