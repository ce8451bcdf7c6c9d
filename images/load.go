package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// LoadOptions says how to load images; the zero value takes them as they are.
type LoadOptions struct {
	// Name names the image; there must be just one then.
	Name string
	// Platform chooses among those of a multi-platform image, "OS/ARCH" or
	// "OS/ARCH/VARIANT"; empty: this machine's.
	Platform string
	// Progress, if set, is called with the progress of each layer.
	Progress func(Event)
}

// Load brings the images of an OCI layout folder, or of a tar as LoadFrom takes
// it, into the store.
func (s *Store) Load(ctx context.Context, path string, o LoadOptions) ([]Image, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load images: %w", err)
	}
	if st.IsDir() {
		return s.load(ctx, path, o, func(_ context.Context, l *loader) error { return l.folder(path) })
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load images: %w", err)
	}
	defer func() { _ = f.Close() }()
	return s.load(ctx, path, o, func(ctx context.Context, l *loader) error { return l.tar(ctx, f) })
}

// LoadFrom brings the images of a tar into the store: an OCI layout, or what
// docker save and podman save write; it may be compressed with gzip or zstd.
func (s *Store) LoadFrom(ctx context.Context, r io.Reader, o LoadOptions) ([]Image, error) {
	return s.load(ctx, "stream", o, func(ctx context.Context, l *loader) error { return l.tar(ctx, r) })
}

// loader is what a file or folder was found to hold.
type loader struct {
	store  *Store
	report *reporter
	src    source
	// found are groups of descriptors: each is one image for several platforms.
	found []found
}

type found struct {
	name string // as it was written; may be empty
	from []v1.Descriptor
}

// load opens a source by open and adds its images.
func (s *Store) load(ctx context.Context, what string, o LoadOptions, open func(context.Context, *loader) error) ([]Image, error) {
	images, err := s.loadLocked(ctx, o, open)
	if err = errors.Join(err, s.collect()); err != nil {
		return nil, fmt.Errorf("load images from %s: %w", what, err)
	}
	return images, nil
}

func (s *Store) loadLocked(ctx context.Context, o LoadOptions, open func(context.Context, *loader) error) ([]Image, error) {
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx, lockUse, true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := &loader{store: s, report: &reporter{send: o.Progress}}
	if err := open(ctx, l); err != nil {
		return nil, err
	}
	if err := l.rename(o.Name); err != nil {
		return nil, err
	}
	return l.add(ctx, want)
}

// rename gives the only image found the name the caller wants.
func (l *loader) rename(name string) error {
	if name == "" {
		return nil
	}
	if len(l.found) != 1 {
		return fmt.Errorf("it holds %d images: the name %q can be given to one only", len(l.found), name)
	}
	l.found[0].name = name
	return nil
}

// add resolves all images before it brings the first.
func (l *loader) add(ctx context.Context, want v1.Platform) ([]Image, error) {
	if len(l.found) == 0 {
		return nil, errors.New("it holds no image")
	}
	var images []Image
	for _, f := range l.found {
		r, err := l.src.resolve(ctx, f.from, want)
		if err != nil {
			return nil, err
		}
		r.digest = r.desc.Digest.String()
		if f.name != "" {
			ref, err := parseName(f.name)
			if err != nil {
				return nil, err
			}
			r.name = canonical(ref)
		}
		img, err := l.store.add(ctx, l.src, r, l.report)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	return images, nil
}

// annContainerd is where containerd and docker put an image's full name.
const annContainerd = "io.containerd.image.name"

// layout takes the images that an OCI layout's index.json names.
func (l *loader) layout(data []byte) error {
	x, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read index.json: %w", err)
	}
	for _, d := range x.Manifests {
		l.group(layoutName(d.Annotations), d)
	}
	return nil
}

// layoutName is the name a layout gives an image. Tools that write layouts of
// one image, such as skopeo and umoci, put only a tag there: that names nothing.
func layoutName(annotations map[string]string) string {
	if name := annotations[annContainerd]; name != "" {
		return name
	}
	name := annotations[annName]
	if !strings.ContainsAny(name, "/:") {
		return ""
	}
	return name
}

// group puts descriptors of one name together.
func (l *loader) group(name string, d v1.Descriptor) {
	for i := range l.found {
		if l.found[i].name == name {
			l.found[i].from = append(l.found[i].from, d)
			return
		}
	}
	l.found = append(l.found, found{name: name, from: []v1.Descriptor{d}})
}

// folder opens an OCI layout folder.
func (l *loader) folder(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, layoutFile)); err != nil {
		return fmt.Errorf("the folder is no OCI layout: %w", err)
	}
	data, err := readSmall(filepath.Join(dir, indexFile))
	if err != nil {
		return err
	}
	blob := func(d v1.Descriptor) string { return filepath.Join(dir, blobDir, d.Digest.Hex) }
	l.src = source{
		small: func(_ context.Context, d v1.Descriptor) ([]byte, error) { return readVerified(blob(d), d.Digest) },
		layer: func(ctx context.Context, d v1.Descriptor, _ *arrival) error { return l.copyLayer(ctx, d, blob(d)) },
	}
	return l.layout(data)
}

// copyLayer copies a layer of a layout folder into the store.
func (l *loader) copyLayer(ctx context.Context, d v1.Descriptor, path string) error {
	e := Event{Layer: d.Digest.String(), Phase: Download, Total: d.Size}
	if ok, err := exists(l.store.blob(d.Digest)); err != nil {
		return err
	} else if !ok {
		f, err := openRegular(path)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("it is missing")
		}
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		got, _, err := l.store.addBlob(ctx, &meter{r: f, report: l.report, event: e})
		if err != nil {
			return err
		}
		if got != d.Digest {
			return mismatch(d.Digest, got.Hex)
		}
	}
	e.Current = e.Total
	l.report.event(e)
	return nil
}

// stored is the source of a tar whose files are in the store already.
func (l *loader) stored() source {
	return source{
		small: func(_ context.Context, d v1.Descriptor) ([]byte, error) { return l.store.readBlob(d.Digest) },
		layer: func(_ context.Context, d v1.Descriptor, _ *arrival) error {
			ok, err := exists(l.store.blob(d.Digest))
			if err == nil && !ok {
				err = fmt.Errorf("blob %s is missing", d.Digest)
			}
			return err
		},
	}
}

// clean is a tar entry's path without "./" and a leading slash.
func clean(name string) string {
	return strings.TrimPrefix(filepath.Clean("/"+name), "/")
}

// layerType is the media type of a stored layer, by its first bytes.
func (l *loader) layerType(h v1.Hash) (types.MediaType, error) {
	f, err := os.Open(l.store.blob(h))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return "", fmt.Errorf("layer %s: %w", h, err)
	}
	switch {
	case isGzip(magic):
		return types.OCILayer, nil
	case isZstd(magic):
		return types.OCILayerZStd, nil
	}
	return types.OCIUncompressedLayer, nil
}
