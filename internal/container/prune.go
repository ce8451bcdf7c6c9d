package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Prune removes all containers that do not run, and says how many bytes of disk
// that gave back.
func (s *Store) Prune(ctx context.Context) (ids []string, freed int64, err error) {
	list, err := s.List()
	if err != nil {
		return nil, 0, err
	}
	var errs []error
	for _, c := range list {
		if c.Up() {
			continue
		}
		size := diskUse(s.path(containersDir, c.ID))
		if err := s.Remove(ctx, c.ID, Removal{}); err != nil {
			errs = append(errs, err) // started meanwhile, perhaps
			continue
		}
		ids = append(ids, c.ID)
		freed += size
	}
	return ids, freed, errors.Join(errs...)
}

// diskUse is what the files of a folder alone take, in bytes: those with another
// name, as the image's disk has, are not given back.
func diskUse(dir string) (n int64) {
	entries, _ := os.ReadDir(dir) // what cannot be read counts for nothing
	for _, e := range entries {
		fi, err := os.Lstat(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink == 1 {
			n += st.Blocks * 512
		}
	}
	return n
}
