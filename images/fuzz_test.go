package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FuzzReference: a reference that is taken has one full name, which is its own
// full name, and a short form that means the same.
func FuzzReference(f *testing.F) {
	for _, s := range []string{
		"alpine", "alpine:3", "library/alpine", "docker.io/library/alpine:latest", "index.docker.io/a/b", "localhost:5000/a",
		"[::1]:5000/a/b:1", "a@sha256:" + someHex, "a:1@sha256:" + someHex, "ghcr.io/a/b/c.d_e-f:v1.2", "UPPER", "a//b", "../a", "a:", "@", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseName(s)
		if err != nil {
			return
		}
		full := canonical(r)
		for _, form := range []string{full, familiar(full)} {
			again, err := parseName(form)
			if err != nil {
				t.Fatalf("%q is %q, which is refused: %v", s, form, err)
			}
			if canonical(again) != full {
				t.Errorf("%q is %q, whose form %q is %q", s, full, form, canonical(again))
			}
		}
		if repo := repository(full); !strings.HasPrefix(full, repo) || repo == "" {
			t.Errorf("%q: repository %q", full, repo)
		}
	})
}

// FuzzManifest: a manifest, an index and a config of any bytes are an image of
// sane parts, or an error.
func FuzzManifest(f *testing.F) {
	img := image(f, gzipLayer(f, reg("a", "1")))
	manifest, err := img.RawManifest()
	if err != nil {
		f.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		f.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		f.Fatal(err)
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{
		{Digest: d, Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
		{Digest: d, Platform: &v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index, manifest, config)
	f.Add([]byte(`{"manifests":[{}]}`), []byte(`{"schemaVersion":2,"layers":[{"size":-1}]}`), []byte(`{"rootfs":{"diff_ids":[""]}}`))
	f.Add([]byte(`{"manifests":[null]}`), []byte(`null`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, index, manifest, config []byte) {
		n := 0
		src := source{small: func(_ context.Context, d v1.Descriptor) ([]byte, error) {
			if n++; d.MediaType.IsConfig() {
				return config, nil
			}
			if n == 1 {
				return index, nil
			}
			return manifest, nil
		}}
		r, err := src.resolve(context.Background(), []v1.Descriptor{{Digest: d}}, v1.Platform{OS: "linux", Architecture: "amd64"})
		if err != nil {
			return
		}
		if len(r.manifest.Layers) != len(r.config.RootFS.DiffIDs) || len(r.manifest.Layers) > maxLayers {
			t.Errorf("%d layers, %d diff IDs", len(r.manifest.Layers), len(r.config.RootFS.DiffIDs))
		}
		for _, l := range r.manifest.Layers {
			if l.Size < 0 || len(l.Digest.Hex) != 64 || strings.ContainsAny(l.Digest.Hex, "/.") {
				t.Errorf("layer %+v", l)
			}
		}
		if p := platformOf(r.config).String(); strings.ContainsFunc(p, func(r rune) bool { return r < ' ' }) {
			t.Errorf("platform %q", p)
		}
	})
}

// FuzzLoad: an image tar of any bytes leaves the store sound, and, if it is
// refused, empty.
func FuzzLoad(f *testing.F) {
	s := newStore(f)
	img := image(f, gzipLayer(f, reg("a", "1")))
	raw, err := img.RawConfigFile()
	if err != nil {
		f.Fatal(err)
	}
	layer := layerTar(f, reg("a", "1"))
	f.Add(layerTar(f, reg("c.json", string(raw)), reg("l/layer.tar", string(layer)),
		reg("manifest.json", `[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]}]`)))
	f.Add(layerTar(f, reg(indexFile, `{"schemaVersion":2,"manifests":[{}]}`), reg(layoutFile, "{}")))
	f.Add(layerTar(f, reg("manifest.json", `[{"Config":"manifest.json","Layers":["manifest.json"]}]`)))
	f.Add(gzipped(f, layerTar(f, reg("manifest.json", "[]"))))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		loaded, err := s.LoadFrom(context.Background(), bytes.NewReader(data), LoadOptions{})
		sound(t, s)
		for _, img := range loaded {
			if err := s.Remove(img.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil && len(loaded) > 0 {
			t.Errorf("images and %v", err)
		}
		if _, err := s.Prune(true); err != nil {
			t.Fatal(err)
		}
		bare(t, s)
	})
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
