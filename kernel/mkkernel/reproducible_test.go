package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mvm-project/mvm/kernel"
)

// TestReproducible builds the ordinary kernel a second time, in a folder of
// another name and from its source on: it is the embedded one to the byte. It
// takes the minutes of a build.
func TestReproducible(t *testing.T) {
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	deb, err := source().fetch(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	r, dir := mustRecipe(t, kernel.KVM), t.TempDir()
	if err := r.build(t.Context(), deb, dir); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(dir, "vmlinux.stripped"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(kernelDir, "assets", kernel.KVM, kernel.File))
	if err != nil {
		t.Fatalf("%v: run make build", err)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("%d bytes and %d bytes: two builds of one recipe differ", len(first), len(second))
	}
}
