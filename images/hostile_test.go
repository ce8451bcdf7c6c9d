package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// rawLayer is a layer of any bytes, said to unpack to someHex.
func rawLayer(data []byte, t types.MediaType) v1.Layer {
	return blobLayer{static.NewLayer(data, t), v1.Hash{Algorithm: "sha256", Hex: someHex}}
}

const someHex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// What is wrong with an image is said in one line, and nothing of it stays.
func TestBadImages(t *testing.T) {
	good := layerBytes(t, gzipLayer(t, reg("a", noise(1, 100_000))))
	badCRC := bytes.Clone(good)
	badCRC[len(badCRC)-6] ^= 1
	badBody := bytes.Clone(good)
	badBody[len(badBody)/2] ^= 1
	gz := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return out.Bytes()
	}
	withConfig := func(f func(*v1.ConfigFile)) v1.Image {
		img := image(t, gzipLayer(t, reg("a", "1")))
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		f(cfg)
		if img, err = mutate.ConfigFile(img, cfg); err != nil {
			t.Fatal(err)
		}
		return img
	}
	for _, c := range []struct {
		name string
		img  v1.Image
		want string
	}{
		{"truncated gzip", image(t, rawLayer(good[:len(good)/2], types.OCILayer)), "unexpected EOF"},
		{"gzip of a wrong checksum", image(t, rawLayer(badCRC, types.OCILayer)), "checksum"},
		{"corrupt gzip", image(t, rawLayer(badBody, types.OCILayer)), "layer sha256:"},
		{"gzip of no tar", image(t, rawLayer(gz([]byte(strings.Repeat("no tar ", 500))), types.OCILayer)), "tar"},
		{"neither gzip nor tar", image(t, rawLayer([]byte(strings.Repeat("nothing ", 500)), types.OCILayer)), "tar"},
		{"truncated zstd", image(t, rawLayer([]byte("\x28\xb5\x2f\xfd\x04"), types.OCILayerZStd)), "unexpected EOF"},
		{"other diff ID", image(t, rawLayer(good, types.OCILayer)), "the image's config says sha256:" + someHex[:4]},
		{"encrypted layer", image(t, rawLayer(good, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted")), "is encrypted"},
		{"foreign layer", image(t, rawLayer(good, types.DockerForeignLayer)), "is foreign"},
		{"other architecture", withConfig(func(c *v1.ConfigFile) { c.Architecture = "s390x" }), "no image for linux/amd64, only for linux/s390x"},
		{"architecture that is no word", withConfig(func(c *v1.ConfigFile) { c.Architecture = "amd64\x1b[2J" }), "which is none"},
		{"fewer diff IDs than layers", withConfig(func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }), "config names 0 layers, the manifest 1"},
		{"no container image", mutate.ConfigMediaType(image(t), "application/vnd.cncf.helm.config.v1+json"), "no container image"},
		{"huge config", withConfig(func(c *v1.ConfigFile) { c.Author = strings.Repeat("a", maxMeta) }), "at most"},
		{"hostile tree", image(t, gzipLayer(t, file{tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}, ""})), "hard link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, s := newFaulty(t), newStore(t)
			ref := push(t, srv.URL, "bad:1", c.img)
			_, err := s.Pull(context.Background(), ref, PullOptions{})
			wantError(t, err, ref, c.want)
			bare(t, s)
		})
	}
}

// A registry that sends other things than it was asked for.
func TestForgedAnswers(t *testing.T) {
	img, l := big(t)
	manifest, config := metadata(t, img)
	layer, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 1
		return b
	}
	for _, c := range []struct {
		name, path string
		forge      func([]byte) []byte
		want       string
	}{
		{"a layer of other content", layer.Hex, flip, "digest mismatch"},
		{"a longer layer", layer.Hex, func(b []byte) []byte { return append(bytes.Clone(b), 0) }, "more bytes"},
		{"a config of other content", config.Hex, flip, "digest mismatch"},
		{"a longer config", config.Hex, func(b []byte) []byte { return append(bytes.Clone(b), ' ') }, "digest mismatch"},
		{"a manifest of other content", manifest.Hex, flip, "digest"},
		{"a manifest without end", "/manifests/", func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 10<<20)...) }, ""},
		{"a manifest that is none", "/manifests/", func([]byte) []byte { return []byte("<html>") }, ""},
		{"a manifest of version 1", "/manifests/", func([]byte) []byte { return []byte(`{"schemaVersion":1,"name":"x"}`) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, s := newFaulty(t), newStore(t)
			ref := push(t, srv.URL, "bad:1", img)
			srv.forge = func(path string, body []byte) []byte {
				if strings.Contains(path, c.path) {
					return c.forge(body)
				}
				return body
			}
			_, err := s.Pull(context.Background(), ref, PullOptions{})
			wantError(t, err, ref, c.want)
			bare(t, s)
		})
	}
}

// A layer that unpacks to more than the disk holds is stopped before the disk is
// full, and what it wrote is gone.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.backoff = 1
	srv := newFaulty(t)
	late := gzipLayer(t, reg("b", "2"))
	bomb := push(t, srv.URL, "bomb:1", image(t, bombLayer(t, 256<<20), late))
	large := push(t, srv.URL, "large:1", image(t, gzipLayer(t, reg("a", noise(1, 60<<20)))))
	small := push(t, srv.URL, "small:1", image(t, gzipLayer(t, reg("a", "1"))))
	// A layer that is still coming when another fills the disk.
	digest, err := late.Digest()
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	defer close(over)
	srv.forge = func(path string, body []byte) []byte {
		if strings.Contains(path, digest.Hex) {
			<-over
		}
		return body
	}
	for _, ref := range []string{bomb, large} {
		_, err := s.Pull(context.Background(), ref, PullOptions{})
		wantError(t, err, "the disk is full: free some space, or remove images")
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("error %v", err)
		}
		bare(t, s)
	}
	mustPull(t, s, small)
}

// bombLayer is a small zstd layer with one file of n bytes that are not zero.
func bombLayer(t testing.TB, n int64) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "bomb", Size: n, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range n / int64(len(chunk)) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return rawLayer(out.Bytes(), types.OCILayerZStd)
}

// A bomb takes no memory: its size says nothing about it.
func TestBombMemory(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	ref := push(t, srv.URL, "bomb:1", image(t, bombLayer(t, 256<<20)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.Pull(context.Background(), ref, PullOptions{})
	runtime.ReadMemStats(&after)
	wantError(t, err, "digest mismatch")
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
	bare(t, s)
}

// A layout folder whose files are no files.
func TestHostileFolder(t *testing.T) {
	layout := func(t *testing.T, index string) string {
		t.Helper()
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, blobDir), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string]string{layoutFile: `{"imageLayoutVersion":"1.0.0"}`, indexFile: index} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":"sha256:%s","size":10}]}`, types.OCIManifestSchema1, someHex)
	s := newStore(t)
	load := func(t *testing.T, dir, want string) {
		t.Helper()
		_, err := s.Load(context.Background(), dir, LoadOptions{})
		wantError(t, err, dir, want)
		bare(t, s)
	}
	t.Run("device", func(t *testing.T) {
		dir := layout(t, index)
		if err := os.Symlink("/dev/zero", filepath.Join(dir, blobDir, someHex)); err != nil {
			t.Fatal(err)
		}
		load(t, dir, "no regular file")
	})
	t.Run("FIFO", func(t *testing.T) {
		dir := layout(t, index)
		if err := unix.Mkfifo(filepath.Join(dir, blobDir, someHex), 0o600); err != nil {
			t.Fatal(err)
		}
		load(t, dir, "no regular file")
	})
	t.Run("missing", func(t *testing.T) { load(t, layout(t, index), "missing") })
	t.Run("no index", func(t *testing.T) { load(t, layout(t, "{"), "index.json") })
	t.Run("empty index", func(t *testing.T) { load(t, layout(t, `{"schemaVersion":2,"manifests":[]}`), "holds no image") })
	t.Run("no layout", func(t *testing.T) { load(t, t.TempDir(), "no OCI layout") })
	t.Run("escape", func(t *testing.T) {
		load(t, layout(t, strings.ReplaceAll(index, someHex, "../../../../etc/passwd")), "index.json")
	})
}

// Image tars that are none.
func TestHostileTars(t *testing.T) {
	pack := func(files ...file) []byte { return layerTar(t, files...) }
	manifest := func(list ...savedImage) file {
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return reg("manifest.json", string(data))
	}
	many := make([]file, maxEntries+1)
	for i := range many {
		many[i] = dir(fmt.Sprint("d", i))
	}
	whole := pack(reg("a", strings.Repeat("x", 2000)))
	for _, c := range []struct {
		name string
		tar  []byte
		want string
	}{
		{"nothing", nil, "no image"},
		{"no tar", []byte(strings.Repeat("no tar ", 500)), "tar"},
		{"truncated", whole[:1000], "unexpected EOF"},
		{"no manifest", pack(reg("a", "1")), "it is no image"},
		{"no config", pack(manifest(savedImage{Config: "../../etc/passwd"})), "not in the tar"},
		{"no layer", pack(reg("c", "{}"), manifest(savedImage{Config: "c", Layers: []string{"l"}})), "not in the tar"},
		{"config that is none", pack(reg("c", "[]"), manifest(savedImage{Config: "c"})), "image config"},
		{"empty list", pack(reg("manifest.json", "[]")), "holds no image"},
		{"list that is none", pack(reg("manifest.json", `{"a":1}`)), "manifest.json"},
		{"blob of other content", pack(reg(blobDir+"/"+someHex, "x"), reg(indexFile, `{"schemaVersion":2}`)), "digest mismatch"},
		{"links in a circle", pack(file{tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "manifest.json"}, ""}), "it is no image"},
		{"many entries", pack(many...), "more than 10000 entries"},
		{"long name", pack(reg(strings.Repeat("n/", 3000)+"f", "")), "a name of"},
		{"huge manifest", pack(reg("manifest.json", strings.Repeat(" ", maxMeta+1))), "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			_, err := s.LoadFrom(context.Background(), bytes.NewReader(c.tar), LoadOptions{})
			wantError(t, err, c.want)
			bare(t, s)
		})
	}
}

// An ordinary user makes the same disk as root, device nodes and owners included.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("another user's store needs root")
	}
	srv := newFaulty(t)
	ref := push(t, srv.URL, "a:1", image(t, gzipLayer(t,
		file{tar.Header{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, ""},
		file{tar.Header{Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 0}, "x"},
		file{tar.Header{Name: "owned", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1234, Gid: 5678}, "x"},
		file{tar.Header{Name: "cap", Typeflag: tar.TypeReg, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}}, "x"},
	)))
	want := diskOf(t, mustPull(t, newStore(t), ref))
	// go test's own folders are for their user only.
	dir, err := os.MkdirTemp("", "mvm-unprivileged-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const nobody = 65534
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/s", 0o755), os.Chown(dir+"/s", nobody, nobody), copyFile(dir+"/test", os.Args[0])); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir + "/test")
	cmd.Env = []string{"MVM_TEST_CHILD=pull " + dir + "/s " + ref, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s, err := Open(dir + "/s")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(diskOf(t, got), want) {
		t.Error("the disk differs from root's")
	}
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// metadata gives the digests of an image's manifest and configuration.
func metadata(t *testing.T, img v1.Image) (manifest, config v1.Hash) {
	t.Helper()
	manifest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err = img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return manifest, config
}
