package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/mvm-project/mvm/guestinit/initramfs"
)

// TestReproducible: two builds are byte-identical, and hold what the kernel needs
// to start PID 1.
func TestReproducible(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		dir := t.TempDir()
		if err := build(dir); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(filepath.Join(dir, initramfs.File)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds differ")
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(archives[0])))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]uint64{}
	for _, r := range records {
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
			t.Errorf("%s carries who built it, or when: %v", r.Name, r.Info)
		}
		modes[r.Name] = r.Mode
	}
	want := map[string]uint64{"dev": 0o40755, "dev/null": 0o20666, "init": 0o100755}
	for name, mode := range want {
		if modes[name] != mode {
			t.Errorf("%s has mode %o, want %o", name, modes[name], mode)
		}
	}
}
