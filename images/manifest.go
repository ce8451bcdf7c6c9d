package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// maxLayers bounds an image's layers; docker's own bound is 127.
	maxLayers = 1024
	// maxNesting bounds how deep indexes may hold indexes.
	maxNesting = 4
)

// parseManifest reads an image manifest and checks what is used of it.
func parseManifest(data []byte) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read the image manifest: %w", err)
	}
	if m.SchemaVersion != 2 {
		return nil, fmt.Errorf("image manifest of schema version %d: only 2 is supported (push the image again with a newer tool)", m.SchemaVersion)
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, fmt.Errorf("it is no container image: its config is of type %q", m.Config.MediaType)
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("image of %d layers: at most %d are allowed", len(m.Layers), maxLayers)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := checkDescriptor(d); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// checkDescriptor refuses what cannot name a blob.
func checkDescriptor(d v1.Descriptor) error {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size < 0 {
		return fmt.Errorf("bad descriptor: digest %q, size %d", d.Digest, d.Size)
	}
	if strings.Contains(string(d.MediaType), "foreign") {
		return fmt.Errorf("layer %s is foreign (of Windows): it cannot run here", d.Digest)
	}
	if strings.Contains(string(d.MediaType), "encrypted") {
		return fmt.Errorf("layer %s is encrypted: decrypt the image first", d.Digest)
	}
	return nil
}

// parseConfig reads the config of the image m.
func parseConfig(data []byte, m *v1.Manifest) (*v1.ConfigFile, error) {
	cfg, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read the image config: %w", err)
	}
	if n := len(cfg.RootFS.DiffIDs); n != len(m.Layers) {
		return nil, fmt.Errorf("the image config names %d layers, the manifest %d", n, len(m.Layers))
	}
	if err := checkPlatform(cfg); err != nil {
		return nil, err
	}
	for _, h := range cfg.RootFS.DiffIDs {
		if err := checkDescriptor(v1.Descriptor{Digest: h}); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

// checkPlatform wants words: they are printed.
func checkPlatform(cfg *v1.ConfigFile) error {
	for _, s := range []string{cfg.OS, cfg.Architecture, cfg.Variant} {
		odd := strings.IndexFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		})
		if odd >= 0 || len(s) > 64 {
			return fmt.Errorf("the image config has the platform %.200q, which is none", s)
		}
	}
	return nil
}

// newImage puts together what the store knows of an entry.
func (s *Store) newImage(e v1.Descriptor, m *v1.Manifest, cfg *v1.ConfigFile) (Image, error) {
	disk := s.disk(cfg)
	size, err := allocated(disk)
	if err != nil {
		return Image{}, err
	}
	digest := e.Annotations[annDigest]
	if digest == "" {
		digest = e.Digest.String()
	}
	return Image{
		Name: familiar(e.Annotations[annName]), ID: m.Config.Digest.String(), Digest: digest,
		Platform: platformOf(cfg).String(), Created: cfg.Created.Time, Size: size,
		Config: newConfig(cfg.Config), RootDisk: disk, RootFS: "erofs",
	}, nil
}

func platformOf(cfg *v1.ConfigFile) v1.Platform {
	return v1.Platform{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant}
}

// parsePlatform reads "OS/ARCH[/VARIANT]"; empty means this machine's.
func parsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	p, err := v1.ParsePlatform(s)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return v1.Platform{}, fmt.Errorf("bad platform %q: want OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64", s)
	}
	return *p, nil
}

// source is where an image comes from.
type source struct {
	// small reads a manifest, an index or a config, verified.
	small func(context.Context, v1.Descriptor) ([]byte, error)
	// layer brings a layer into the store. It may tell the arrival what has come
	// so far, which is then unpacked at once.
	layer func(context.Context, v1.Descriptor, *arrival) error
}

// resolved is an image found in a source.
type resolved struct {
	desc        v1.Descriptor // of the manifest
	raw, rawCfg []byte
	manifest    *v1.Manifest
	config      *v1.ConfigFile
	name        string // canonical, or empty
	digest      string // what the name was resolved to
}

// resolve finds, among descriptors of manifests and indexes, the image for a
// platform.
func (src source) resolve(ctx context.Context, from []v1.Descriptor, want v1.Platform) (resolved, error) {
	d, raw, err := src.pick(ctx, from, want, 0)
	if err != nil {
		return resolved{}, err
	}
	r := resolved{desc: v1.Descriptor{MediaType: d.MediaType, Size: int64(len(raw)), Digest: d.Digest}, raw: raw}
	if r.manifest, err = parseManifest(raw); err != nil {
		return resolved{}, err
	}
	if r.desc.MediaType == "" {
		r.desc.MediaType = r.manifest.MediaType
	}
	if r.rawCfg, err = src.small(ctx, r.manifest.Config); err != nil {
		return resolved{}, err
	}
	if r.config, err = parseConfig(r.rawCfg, r.manifest); err != nil {
		return resolved{}, err
	}
	if got := platformOf(r.config); !got.Satisfies(want) {
		return resolved{}, wrongPlatform(want, []string{got.String()})
	}
	return r, nil
}

// pick follows indexes down to one manifest, which it reads.
func (src source) pick(ctx context.Context, from []v1.Descriptor, want v1.Platform, depth int) (v1.Descriptor, []byte, error) {
	if depth > maxNesting {
		return v1.Descriptor{}, nil, fmt.Errorf("indexes within indexes, more than %d deep", maxNesting)
	}
	d, err := choose(from, want)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	if err := checkDescriptor(d); err != nil {
		return v1.Descriptor{}, nil, err
	}
	raw, err := src.small(ctx, d)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	if !isIndex(d.MediaType, raw) {
		return d, raw, nil
	}
	x, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("read the image index: %w", err)
	}
	return src.pick(ctx, x.Manifests, want, depth+1)
}

// isIndex tells an index from a manifest; the content has the last word, for an
// index may be listed with no media type.
func isIndex(t types.MediaType, raw []byte) bool {
	if t.IsIndex() || t.IsImage() {
		return t.IsIndex()
	}
	var has struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	return json.Unmarshal(raw, &has) == nil && has.Manifests != nil
}

// choose takes the first manifest for just this platform, else the first for a
// variant of it (amd64/v3 needs more than any amd64 has), else the first that
// does not say its platform.
func choose(from []v1.Descriptor, want v1.Platform) (v1.Descriptor, error) {
	for _, d := range from {
		if d.Platform != nil && d.Platform.Variant == want.Variant && d.Platform.Satisfies(want) {
			return d, nil
		}
	}
	var there []string
	for _, d := range from {
		if d.Platform == nil {
			continue
		}
		if d.Platform.Satisfies(want) {
			return d, nil
		}
		if p := d.Platform.String(); d.Platform.OS != "unknown" && !slices.Contains(there, p) {
			there = append(there, p)
		}
	}
	for _, d := range from {
		if d.Platform == nil {
			return d, nil
		}
	}
	if len(there) == 0 {
		return v1.Descriptor{}, errors.New("the image index names no image")
	}
	return v1.Descriptor{}, wrongPlatform(want, there)
}

func wrongPlatform(want v1.Platform, there []string) error {
	return fmt.Errorf("there is no image for %s, only for %s", want, strings.Join(there, ", "))
}
