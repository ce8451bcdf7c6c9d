package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// keepPartial is how long an interrupted download waits to be taken up again.
const keepPartial = 24 * time.Hour

// Remove takes a name from its image, or, given an ID, all its names. An image
// without a name is deleted, with all that no other image needs; its root disk
// stays readable for those that have it open or made a hard link to it.
func (s *Store) Remove(ref string) error {
	ctx := context.Background()
	err := s.update(ctx, func(x *v1.IndexManifest) error {
		e, err := s.match(x, ref)
		if err != nil {
			return err
		}
		remove(x, e, named(e, ref))
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	if err := s.collect(); err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	return nil
}

// named says whether ref means the entry by its name, not by its digits.
func named(e v1.Descriptor, ref string) bool {
	r, err := parseName(ref)
	return err == nil && e.Annotations[annName] != "" && repository(canonical(r)) == repository(e.Annotations[annName])
}

// remove leaves the entry e out, or all of its image.
func remove(x *v1.IndexManifest, e v1.Descriptor, nameOnly bool) {
	kept := x.Manifests[:0]
	for _, o := range x.Manifests {
		same := o.Digest == e.Digest
		if nameOnly {
			same = same && o.Annotations[annName] == e.Annotations[annName]
		}
		if !same {
			kept = append(kept, o)
		}
	}
	x.Manifests = kept
}

// collect deletes what nothing refers to, unless another call adds files at the
// time: then a later one will find it.
func (s *Store) collect() error {
	l := flock.New(s.path(lockDir, lockUse))
	if ok, err := l.TryLock(); err != nil || !ok {
		return err
	}
	defer func() { _ = l.Unlock() }()
	x, err := s.index()
	if err != nil {
		return err
	}
	keep, err := s.reachable(x)
	if err != nil {
		return err
	}
	return errors.Join(
		s.sweep(blobDir, func(e fs.DirEntry) bool { return keep[e.Name()] }),
		s.sweep(diskDir, func(e fs.DirEntry) bool { return keep[e.Name()] }),
		s.sweep(tmpDir, func(fs.DirEntry) bool { return false }),
		s.sweep(lockDir, func(e fs.DirEntry) bool { return e.Name() == lockUse || e.Name() == lockIndex }),
		s.sweep(partialDir, recent),
	)
}

// reachable are the names of the blobs and disks of all images.
func (s *Store) reachable(x *v1.IndexManifest) (map[string]bool, error) {
	keep := map[string]bool{}
	for _, e := range x.Manifests {
		m, cfg, err := s.read(e)
		if err != nil {
			return nil, err
		}
		disk, _ := diskName(cfg.RootFS.DiffIDs)
		keep[disk], keep[e.Digest.Hex], keep[m.Config.Digest.Hex] = true, true, true
		for _, d := range m.Layers {
			keep[d.Digest.Hex] = true
		}
	}
	return keep, nil
}

// recent says whether a file was written to not long ago.
func recent(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) < keepPartial
}

// sweep deletes the files of a folder that are not to be kept.
func (s *Store) sweep(dir string, keep func(fs.DirEntry) bool) error {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if keep(e) {
			continue
		}
		if err := os.Remove(s.path(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
