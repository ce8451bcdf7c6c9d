package images

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// imageFor is an image of one file that says its platform.
func imageFor(t *testing.T, p v1.Platform) v1.Image {
	t.Helper()
	img := image(t, gzipLayer(t, reg("platform", p.String())))
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant = p.OS, p.Architecture, p.Variant
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// multi is an index of images, as buildx makes them: an attestation is among
// them.
func multi(t *testing.T, platforms ...v1.Platform) v1.ImageIndex {
	t.Helper()
	x := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	note := mutate.IndexAddendum{Add: image(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}}
	x = mutate.AppendManifests(x, note)
	for _, p := range platforms {
		x = mutate.AppendManifests(x, mutate.IndexAddendum{Add: imageFor(t, p), Descriptor: v1.Descriptor{Platform: &p}})
	}
	return x
}

func pushIndex(t *testing.T, srv *faulty, repo string, x v1.ImageIndex) string {
	t.Helper()
	ref, err := name.ParseReference(host(srv) + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, x); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// Of an image for several platforms the one that was asked for is taken, by
// default this machine's, and the plain one before a variant.
func TestPlatforms(t *testing.T) {
	amd64, v3 := v1.Platform{OS: "linux", Architecture: "amd64"}, v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}
	arm7, arm64 := v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, v1.Platform{OS: "linux", Architecture: "arm64"}
	srv := newFaulty(t)
	all := pushIndex(t, srv, "all:1", multi(t, arm64, v3, amd64, arm7))
	variant := pushIndex(t, srv, "variant:1", multi(t, arm64, v3))
	arm := pushIndex(t, srv, "arm:1", multi(t, arm64, arm7))
	nested := pushIndex(t, srv, "nested:1", mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.DockerManifestList), mutate.IndexAddendum{Add: multi(t, arm64, amd64)}))
	deep := multi(t, amd64)
	for range maxNesting + 1 {
		deep = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: deep})
	}
	for _, c := range []struct{ ref, platform, want, err string }{
		{all, "", "linux/amd64", ""},
		{all, "linux/amd64", "linux/amd64", ""},
		{all, "linux/amd64/v3", "linux/amd64/v3", ""},
		{all, "linux/arm", "linux/arm/v7", ""},
		{all, "linux/arm64", "linux/arm64", ""},
		{variant, "", "linux/amd64/v3", ""},
		{nested, "", "linux/amd64", ""},
		{arm, "", "", "no image for linux/amd64, only for linux/arm64, linux/arm/v7"},
		{all, "linux/s390x", "", "no image for linux/s390x"},
		{pushIndex(t, srv, "none:1", multi(t)), "", "", "names no image"},
		{pushIndex(t, srv, "deep:1", deep), "", "", "indexes within indexes"},
	} {
		s := newStore(t)
		img, err := s.Pull(context.Background(), c.ref, PullOptions{Platform: c.platform})
		if c.err != "" {
			wantError(t, err, c.ref, c.err)
			bare(t, s)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if img.Platform != c.want || !bytes.Contains(diskOf(t, img), []byte(c.want)) {
			t.Errorf("%s for %q: %s", c.ref, c.platform, img.Platform)
		}
		sound(t, s)
	}
}

// Types of Docker's and of OCI's are the same images, by tag and by digest.
func TestMediaTypes(t *testing.T) {
	srv := newFaulty(t)
	layer := gzipLayer(t, reg("a", "1"))
	oci := image(t, layer)
	docker := mutate.MediaType(mutate.ConfigMediaType(oci, types.DockerConfigJSON), types.DockerManifestSchema2)
	var disks [][]byte
	for i, img := range []v1.Image{oci, docker} {
		s := newStore(t)
		ref := push(t, srv.URL, []string{"oci:1", "docker:1"}[i], img)
		pulled := mustPull(t, s, ref)
		disks = append(disks, diskOf(t, pulled))
		repo := ref[:len(ref)-2]
		if by := mustPull(t, newStore(t), repo+"@"+pulled.Digest); by.ID != pulled.ID {
			t.Errorf("by digest it is %s, by tag %s", by.ID, pulled.ID)
		}
		if got, err := s.Get(repo + "@" + pulled.Digest); err != nil || got.ID != pulled.ID {
			t.Errorf("get by digest: %v, %v", got.ID, err)
		}
	}
	if !bytes.Equal(disks[0], disks[1]) {
		t.Error("the disks differ")
	}
}

// A newer image takes the name; the older stays until it is pruned, and a disk
// that has another link stays then too.
func TestPrune(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	var ids []string
	for i := range 3 {
		ref := push(t, srv.URL, "a:1", image(t, gzipLayer(t, reg("a", noise(uint64(i), 100)))))
		ids = append(ids, mustPull(t, s, ref).ID)
	}
	first, err := s.Get(ids[0])
	if err != nil || first.Name != "" {
		t.Fatalf("the first image: %+v, %v", first, err)
	}
	if err := os.Link(first.RootDisk, t.TempDir()+"/link"); err != nil {
		t.Fatal(err)
	}
	gone, err := s.Prune(false)
	if err != nil || len(gone) != 1 || gone[0].ID != ids[1] {
		t.Errorf("pruned %+v, %v", gone, err)
	}
	if _, err := s.Get(ids[0]); err != nil {
		t.Error(err)
	}
	gone, err = s.Prune(true)
	if err != nil || len(gone) != 1 || gone[0].ID != ids[2] {
		t.Errorf("pruned of all %+v, %v", gone, err)
	}
	sound(t, s)
}
