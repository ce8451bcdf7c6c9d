package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// keepPartial is how long an interrupted download waits to be taken up again.
const keepPartial = 24 * time.Hour

// Remove takes a name from its image, or, given an ID, all its names. An image
// without a name is deleted, with all that no other image needs; its root disk
// stays readable for those that have it open or made a hard link to it.
func (s *Store) Remove(ref string) error {
	err := s.change(func(x *v1.IndexManifest) error {
		e, err := s.match(x, ref)
		if err != nil {
			return err
		}
		remove(x, e, named(e, ref))
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	return nil
}

// Prune removes the images without a name, and, if all is set, those with one;
// but for those whose root disk has another hard link, for a container has it.
// It returns what it removed.
func (s *Store) Prune(all bool) ([]Image, error) {
	var gone []Image
	err := s.change(func(x *v1.IndexManifest) error {
		for _, e := range slices.Clone(x.Manifests) {
			if e.Annotations[annName] != "" && !all {
				continue
			}
			img, err := s.stored(e)
			if err != nil {
				return err
			}
			if used, err := linked(img.RootDisk); used || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			remove(x, e, true)
			gone = append(gone, img)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("prune images: %w", err)
	}
	return gone, nil
}

// linked says whether a file has a second name.
func linked(path string) (bool, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return st.Nlink > 1, err
}

// change updates the index and then collects what that set free.
func (s *Store) change(f func(*v1.IndexManifest) error) error {
	ctx := context.Background()
	unlock, err := s.lock(ctx, lockUse, true) // the new index is a file in tmp
	if err != nil {
		return err
	}
	err = s.update(ctx, f)
	unlock()
	if err != nil {
		return err
	}
	return s.collect()
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
	keep := s.reachable(x)
	return errors.Join(
		s.sweep(partialDir, s.wanted),
		s.sweep(blobDir, func(e fs.DirEntry) bool { return keep == nil || keep[e.Name()] }),
		s.sweep(diskDir, func(e fs.DirEntry) bool { return keep == nil || keep[e.Name()] }),
		s.sweep(tmpDir, func(fs.DirEntry) bool { return false }),
		s.sweep(lockDir, func(e fs.DirEntry) bool { return e.Name() == lockUse || e.Name() == lockIndex }),
	)
}

// reachable are the names of the blobs and disks of all images; nil if an image
// is damaged, for then nobody knows what is its.
func (s *Store) reachable(x *v1.IndexManifest) map[string]bool {
	keep := map[string]bool{}
	for _, e := range x.Manifests {
		m, cfg, err := s.read(e)
		if err != nil {
			return nil
		}
		disk, _ := diskName(cfg.RootFS.DiffIDs)
		keep[disk], keep[e.Digest.Hex], keep[m.Config.Digest.Hex] = true, true, true
		for _, d := range m.Layers {
			keep[d.Digest.Hex] = true
		}
	}
	return keep
}

// wanted says whether a partial download may be taken up again: it was written to
// not long ago, and its blob has not come in another way.
func (s *Store) wanted(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil || time.Since(info.ModTime()) > keepPartial {
		return false
	}
	here, err := exists(s.path(blobDir, e.Name()))
	return err == nil && !here
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
