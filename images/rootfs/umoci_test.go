package rootfs

import (
	"archive/tar"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"pgregory.net/rapid"
)

// umoci unpacks layers as umoci does, which writes them to the host's folders
// one after the other.
func umoci(t testing.TB, layers ...[]byte) map[string]node {
	t.Helper()
	dir := t.TempDir()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, l := range layers {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer(l, types.OCIUncompressedLayer)); err != nil {
			t.Fatal(err)
		}
	}
	img, err := withPlatform(img)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ocilayout.Write(dir+"/oci", empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	name := ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "x"})
	if err := p.AppendImage(img, name, ocilayout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("umoci", "unpack", "--image", dir+"/oci:x", dir+"/bundle").CombinedOutput(); err != nil {
		t.Fatalf("umoci unpack: %v\n%s", err, out)
	}
	return readFolder(t, filepath.Join(dir, "bundle", "rootfs"))
}

func withPlatform(img v1.Image) (v1.Image, error) {
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	return mutate.ConfigFile(img, cfg)
}

// known is a generator's picture of what is there, so that what it makes is not
// refused: path -> type.
type known map[string]byte

// change makes one more entry of a layer. Left out is what tools do not agree
// on: whiteouts of their own layer's files, and files below a symlink or a file.
func (k known) change(t *rapid.T, fresh map[string]bool) ent {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "f/a"}).Draw(t, "path")
	mode := rapid.SampledFrom([]int64{0o644, 0o755, 0o4711, 0o1700}).Draw(t, "mode")
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		if !fresh[name] {
			delete(k, name)
			return file(filepath.Dir(name)+"/.wh."+filepath.Base(name), "")
		}
	case 1:
		if target := rapid.SampledFrom([]string{"a", "d/a", "d/e/b"}).Draw(t, "target"); k[target] == tar.TypeReg && target != name {
			fresh[name], k[name] = true, k[target]
			return hardlink(name, target)
		}
	case 2:
		fresh[name], k[name] = true, tar.TypeSymlink
		return symlink(name, rapid.SampledFrom([]string{"a", "/d", "../../x"}).Draw(t, "target"))
	case 3:
		fresh[name], k[name] = true, tar.TypeFifo
		return special(name, tar.TypeFifo, 0, 0).mode(mode)
	case 4:
		fresh["d"] = true
		return dir("d/").mode(mode).owner(rapid.IntRange(0, 100_000).Draw(t, "uid"), 3)
	}
	fresh[name], k[name] = true, tar.TypeReg
	data := rapid.SampledFrom([]string{"", "x", "some more"}).Draw(t, "data")
	return file(name, data).mode(mode).owner(rapid.IntRange(0, 100_000).Draw(t, "uid"), 4).xattr("user.x", "v"+data)
}

// Random layers give the tree that umoci unpacks.
func TestLikeUmoci(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := known{}
		var layers [][]byte
		for i := range rapid.IntRange(1, 4).Draw(rt, "layers") {
			fresh := map[string]bool{}
			entries := []ent{dir("d"), dir("d/e"), dir("f")}
			if i > 0 {
				entries = nil
			}
			for range rapid.IntRange(1, 6).Draw(rt, "entries") {
				entries = append(entries, k.change(rt, fresh))
			}
			layers = append(layers, layer(t, entries...))
		}
		want, got := lines(umoci(t, layers...)), lines(readDisk(t, mustBuild(t, layers...)))
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(fmt.Sprintf("tree (-umoci +ours):\n%s", diff))
		}
	})
}
