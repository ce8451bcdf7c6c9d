package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations of the entries of index.json.
const (
	// annName is the image's canonical name; an entry without it is an image
	// that lost its name to a newer one.
	annName = "org.opencontainers.image.ref.name"
	// annDigest is the digest the name was resolved to: that of the manifest,
	// or of the index that holds it.
	annDigest = "io.github.mvm-project.digest"
)

// index reads index.json; it is replaced as a whole, so no lock is needed.
func (s *Store) index() (*v1.IndexManifest, error) {
	data, err := os.ReadFile(s.path(indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}, nil
	}
	if err != nil {
		return nil, err
	}
	x, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", s.path(indexFile), err)
	}
	return x, nil
}

// update changes index.json by f.
func (s *Store) update(ctx context.Context, f func(*v1.IndexManifest) error) error {
	unlock, err := s.lock(ctx, lockIndex, false)
	if err != nil {
		return err
	}
	defer unlock()
	x, err := s.index()
	if err != nil {
		return err
	}
	if err := f(x); err != nil {
		return err
	}
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return s.replace(indexFile, data)
}

// enter names a manifest; name may be empty. An image that had the name, and no
// other, stays without one.
func enter(x *v1.IndexManifest, d v1.Descriptor, name, digest string) {
	for i, e := range x.Manifests {
		if name == "" || e.Annotations[annName] != name {
			continue
		}
		x.Manifests[i].Annotations = map[string]string{annDigest: e.Annotations[annDigest]}
	}
	d.Annotations = map[string]string{annDigest: digest}
	if name != "" {
		d.Annotations[annName] = name
	}
	x.Manifests = append(x.Manifests, d)
	prune(x)
}

// prune leaves out the nameless entries of images that have another entry.
func prune(x *v1.IndexManifest) {
	seen := map[v1.Hash]bool{}
	for _, e := range x.Manifests {
		if e.Annotations[annName] != "" {
			seen[e.Digest] = true
		}
	}
	x.Manifests = slices.DeleteFunc(x.Manifests, func(e v1.Descriptor) bool {
		if e.Annotations[annName] != "" {
			return false
		}
		dup := seen[e.Digest]
		seen[e.Digest] = true
		return dup
	})
}

// hexID matches what may be the beginning of a digest.
func hexID() *regexp.Regexp { return regexp.MustCompile(`^(sha256:)?[0-9a-f]{4,64}$`) }

// Get finds an image by name, as docker would complete it, or by the first four
// or more digits of its ID or digest. The error is an fs.ErrNotExist if it is
// not in the store.
func (s *Store) Get(ref string) (Image, error) {
	x, err := s.index()
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	e, err := s.match(x, ref)
	if err != nil {
		return Image{}, err
	}
	img, err := s.image(e)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	return img, nil
}

// match finds the entry that ref means: by name, by NAME@DIGEST, by ID.
func (s *Store) match(x *v1.IndexManifest, ref string) (v1.Descriptor, error) {
	r, badName := parseName(ref)
	if badName == nil {
		name := canonical(r)
		for _, e := range x.Manifests {
			if e.Annotations[annName] == name {
				return e, nil
			}
		}
		for _, e := range x.Manifests {
			repo, digest, ok := strings.Cut(name, "@")
			if ok && repository(e.Annotations[annName]) == repo && (e.Annotations[annDigest] == digest || e.Digest.String() == digest) {
				return e, nil
			}
		}
	}
	if hexID().MatchString(ref) {
		return s.matchID(x, ref)
	}
	if badName != nil {
		return v1.Descriptor{}, badName
	}
	return v1.Descriptor{}, unknown(ref)
}

func unknown(ref string) error { return notFoundError(ref) }

// notFoundError is that of an image that is not in the store: an fs.ErrNotExist.
type notFoundError string

func (e notFoundError) Error() string {
	return fmt.Sprintf("image %q is not in the store: pull or load it", string(e))
}

func (notFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// matchID finds the one image whose ID or digest begins with ref.
func (s *Store) matchID(x *v1.IndexManifest, ref string) (v1.Descriptor, error) {
	prefix := "sha256:" + strings.TrimPrefix(ref, "sha256:")
	var found []v1.Descriptor
	for _, e := range x.Manifests {
		if slices.ContainsFunc(found, func(f v1.Descriptor) bool { return f.Digest == e.Digest }) {
			continue
		}
		ids := []string{e.Digest.String(), e.Annotations[annDigest]}
		if m, err := s.manifest(e.Digest); err == nil { // a damaged image still has its digest
			ids = append(ids, m.Config.Digest.String())
		}
		if slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, prefix) }) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return v1.Descriptor{}, unknown(ref)
	case 1:
		return found[0], nil
	}
	return v1.Descriptor{}, fmt.Errorf("image ID %q is ambiguous: %d images begin with it, give more digits", ref, len(found))
}

// List returns all images, one for each name, and those without a name; in the
// order in which they came. An error is that of images that are damaged; the
// list is of the others.
func (s *Store) List() ([]Image, error) {
	x, err := s.index()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	list := make([]Image, 0, len(x.Manifests))
	var damaged []error
	for _, e := range x.Manifests {
		img, err := s.stored(e)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		list = append(list, img)
	}
	return list, errors.Join(damaged...)
}

// manifest reads the manifest of an image in the store.
func (s *Store) manifest(h v1.Hash) (*v1.Manifest, error) {
	data, err := s.readBlob(h)
	if err != nil {
		return nil, err
	}
	return parseManifest(data)
}

// stored reads an entry's image.
func (s *Store) stored(e v1.Descriptor) (Image, error) {
	m, cfg, err := s.read(e)
	if err != nil {
		return Image{}, err
	}
	return s.newImage(e, m, cfg)
}

// image reads an entry's image, and makes its root disk if that was lost.
func (s *Store) image(e v1.Descriptor) (Image, error) {
	m, cfg, err := s.read(e)
	if err != nil {
		return Image{}, err
	}
	if err := s.ensureDisk(m, cfg); err != nil {
		return Image{}, fmt.Errorf("make its root disk anew: %w", err)
	}
	return s.newImage(e, m, cfg)
}

// read reads the manifest and the config of an entry's image.
func (s *Store) read(e v1.Descriptor) (*v1.Manifest, *v1.ConfigFile, error) {
	m, err := s.manifest(e.Digest)
	if err != nil {
		return nil, nil, damaged(e, err)
	}
	raw, err := s.readBlob(m.Config.Digest)
	if err != nil {
		return nil, nil, damaged(e, err)
	}
	cfg, err := parseConfig(raw, m)
	if err != nil {
		return nil, nil, damaged(e, err)
	}
	return m, cfg, nil
}

func damaged(e v1.Descriptor, err error) error {
	return fmt.Errorf("image %s (%s) is damaged: remove it, then pull or load it again: %w", e.Digest, familiar(e.Annotations[annName]), err)
}
