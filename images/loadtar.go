package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// maxEntries bounds the files of an image tar.
	maxEntries = 10_000
	// maxPath bounds the names in an image tar, in bytes.
	maxPath = 4096
	// maxArchive bounds an image tar's length, uncompressed, in bytes.
	maxArchive = 1 << 40
)

// archive is an image tar, read once: its files are in the store, under their
// digests.
type archive struct {
	files map[string]v1.Descriptor
	links map[string]string // of old docker versions, one layer to another
}

// tar opens an image tar: index.json of an OCI layout goes before manifest.json
// of docker save, for it keeps the digests that the image had in its registry.
func (l *loader) tar(ctx context.Context, r io.Reader) error {
	plain, closer, err := decompress(r)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	defer closer()
	a := &archive{files: map[string]v1.Descriptor{}, links: map[string]string{}}
	if err := a.read(ctx, l.store, io.LimitReader(plain, maxArchive)); err != nil {
		return err
	}
	l.src = l.stored()
	if d, ok := a.lookup(indexFile); ok {
		data, err := l.store.readBlob(d.Digest)
		if err != nil {
			return err
		}
		return l.layout(data)
	}
	if d, ok := a.lookup("manifest.json"); ok {
		data, err := l.store.readBlob(d.Digest)
		if err != nil {
			return err
		}
		return l.saved(a, data)
	}
	return errors.New("it is no image: neither index.json (OCI layout) nor manifest.json (docker save) is in it")
}

// read puts every file of the tar into the store.
func (a *archive) read(ctx context.Context, s *Store, r io.Reader) error {
	tr := tar.NewReader(&ctxReader{ctx, r})
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("read the tar: %w", err)
		}
		if n >= maxEntries {
			return fmt.Errorf("the tar has more than %d entries: it is no image", maxEntries)
		}
		if err := a.entry(ctx, s, h, tr); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

func (a *archive) entry(ctx context.Context, s *Store, h *tar.Header, r io.Reader) error {
	if len(h.Name) > maxPath || len(h.Linkname) > maxPath {
		return fmt.Errorf("a name of %d bytes: it is no image", max(len(h.Name), len(h.Linkname)))
	}
	name := strings.Clone(clean(h.Name)) // not to keep all of the header
	switch h.Typeflag {
	case tar.TypeSymlink:
		a.links[name] = clean(path.Join(path.Dir(name), h.Linkname))
	case tar.TypeLink:
		a.links[name] = clean(h.Linkname)
	case tar.TypeReg:
		digest, size, err := s.addBlob(ctx, r)
		if err != nil {
			return err
		}
		if hex, ok := strings.CutPrefix(name, blobDir+"/"); ok && hex != digest.Hex {
			return mismatch(v1.Hash{Algorithm: "sha256", Hex: hex}, digest.Hex)
		}
		a.files[name] = v1.Descriptor{Digest: digest, Size: size}
	}
	return nil
}

// lookup finds a file, through at most one link: docker wrote no longer chains.
func (a *archive) lookup(name string) (v1.Descriptor, bool) {
	name = clean(name)
	d, ok := a.files[name]
	if !ok {
		d, ok = a.files[a.links[name]]
	}
	return d, ok
}

// savedImage is an element of docker save's manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// saved takes the images of docker save's manifest.json. They have no manifest
// of the kind registries hold: one is made, always the same for one image.
func (l *loader) saved(a *archive, data []byte) error {
	var list []savedImage
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("read manifest.json: %w", err)
	}
	for _, img := range list {
		d, err := l.convert(a, img)
		if err != nil {
			return err
		}
		names := img.RepoTags
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			l.found = append(l.found, found{name: name, from: []v1.Descriptor{d}})
		}
	}
	return nil
}

// convert makes the manifest of a saved image and stores it.
func (l *loader) convert(a *archive, img savedImage) (v1.Descriptor, error) {
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	cfg, ok := a.lookup(img.Config)
	if !ok {
		return v1.Descriptor{}, fmt.Errorf("manifest.json names the config %.200q, which is not in the tar", img.Config)
	}
	cfg.MediaType = types.OCIConfigJSON
	m.Config = cfg
	for _, name := range img.Layers {
		d, ok := a.lookup(name)
		if !ok {
			return v1.Descriptor{}, fmt.Errorf("manifest.json names the layer %.200q, which is not in the tar", name)
		}
		t, err := l.layerType(d.Digest)
		if err != nil {
			return v1.Descriptor{}, err
		}
		d.MediaType = t
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	h, _, err := l.store.addBlob(context.Background(), bytes.NewReader(raw))
	return v1.Descriptor{MediaType: m.MediaType, Digest: h, Size: int64(len(raw))}, err
}
