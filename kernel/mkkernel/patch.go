package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// patch is a change of the source, with a header that says why.
type patch struct {
	name   string // of its file
	header []byte
	diff   []byte // all that decides the kernel's bytes
}

// readPatches reads the patches in dir, in the order of their names.
func readPatches(dir string) ([]patch, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var all []patch
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		header, diff, ok := bytes.Cut(b, []byte("\n---\n"))
		if !ok {
			return nil, fmt.Errorf("%s: no header that ends with a line ---", path)
		}
		all = append(all, patch{name: filepath.Base(path), header: header, diff: diff})
	}
	return all, nil
}

// apply changes the source in dir. What does not fit exactly is an error.
func (p patch) apply(ctx context.Context, dir string) error {
	if err := command(ctx, dir, p.diff, "patch", "-p1", "--batch", "--fuzz=0"); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
