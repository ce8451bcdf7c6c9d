package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Save writes images as one tar that docker load, podman load and Load take: an
// OCI layout that has docker's manifest.json too.
func (s *Store) Save(ctx context.Context, refs []string, w io.Writer) error {
	if err := s.save(ctx, refs, w); err != nil {
		return fmt.Errorf("save images: %w", err)
	}
	return nil
}

func (s *Store) save(ctx context.Context, refs []string, w io.Writer) error {
	if len(refs) == 0 {
		return errors.New("none is named")
	}
	unlock, err := s.lock(ctx, lockUse, true) // the blobs must stay
	if err != nil {
		return err
	}
	defer unlock()
	o := &saver{store: s, tar: tar.NewWriter(w), done: map[string]bool{}}
	o.index = v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	x, err := s.index()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		e, err := s.match(x, ref)
		if err != nil {
			return err
		}
		if err := o.image(ctx, e); err != nil {
			return fmt.Errorf("%q: %w", ref, err)
		}
	}
	return o.finish()
}

// saver writes one tar.
type saver struct {
	store *Store
	tar   *tar.Writer
	done  map[string]bool // files that are in the tar
	index v1.IndexManifest
	list  []savedImage
}

// image writes an image's blobs.
func (o *saver) image(ctx context.Context, e v1.Descriptor) error {
	m, err := o.store.manifest(e.Digest)
	if err != nil {
		return err
	}
	name := e.Annotations[annName]
	saved := savedImage{Config: blobName(m.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	e.Annotations = nil
	if name != "" {
		if !strings.Contains(name, "@") { // docker load takes tags only
			saved.RepoTags = append(saved.RepoTags, familiar(name))
		}
		e.Annotations = map[string]string{annName: name, annContainerd: name}
	}
	for _, d := range append([]v1.Descriptor{{Digest: e.Digest}, m.Config}, m.Layers...) {
		if err := o.blob(ctx, d.Digest); err != nil {
			return err
		}
	}
	for _, d := range m.Layers {
		saved.Layers = append(saved.Layers, blobName(d.Digest))
	}
	o.index.Manifests = append(o.index.Manifests, e)
	o.list = append(o.list, saved)
	return nil
}

func blobName(h v1.Hash) string { return path.Join(blobDir, h.Hex) }

func (o *saver) blob(ctx context.Context, h v1.Hash) error {
	if o.done[h.Hex] {
		return nil
	}
	o.done[h.Hex] = true
	f, err := os.Open(o.store.blob(h))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := o.header(blobName(h), st.Size()); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(o.tar, sum), &ctxReader{ctx, f}, make([]byte, copySize)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.Hex {
		return fmt.Errorf("the image is damaged: pull or load it again: %w", mismatch(h, got))
	}
	return nil
}

func (o *saver) header(name string, size int64) error {
	return o.tar.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX})
}

// finish writes the files that name the blobs.
func (o *saver) finish() error {
	files := []struct {
		name string
		data any
	}{
		{indexFile, o.index},
		{"manifest.json", o.list},
		{layoutFile, map[string]string{"imageLayoutVersion": "1.0.0"}},
	}
	for _, f := range files {
		data, err := json.Marshal(f.data)
		if err != nil {
			return err
		}
		if err := o.header(f.name, int64(len(data))); err != nil {
			return err
		}
		if _, err := o.tar.Write(data); err != nil {
			return err
		}
	}
	return o.tar.Close()
}
