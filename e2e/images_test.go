package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/mvm-project/mvm/e2e/vhost"
)

// images makes the folder of images that the suite loads, as docker save writes
// them: a busybox, and a Debian with python.
func images(ctx context.Context, t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	saveImage(t, filepath.Join(dir, "busybox.tar"), "busybox:test", busyboxLayer(ctx, t),
		v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}})
	cache, err := vhost.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := os.ReadFile(debian(ctx, t, cache))
	if err != nil {
		t.Fatal(err)
	}
	saveImage(t, filepath.Join(dir, "python.tar"), "python:test", layer,
		v1.Config{Entrypoint: []string{"python3"}, Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, WorkingDir: "/srv"})
	return dir
}

// busyboxLayer is Debian's static busybox with a link for each applet, an
// ordinary user, and a file that is not executable.
func busyboxLayer(ctx context.Context, t *testing.T) []byte {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	applets, err := exec.CommandContext(ctx, "/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, data string) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin/", "etc/", "home/", "home/alice/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, "")
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, string(program))
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + a, Linkname: "busybox", Mode: 0o777}, "")
		}
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644},
		"root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/plain", Mode: 0o644}, "not a program\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// debian is the path of a tar with Debian's python3-minimal and the libraries it
// is linked to, made by mmdebstrap and kept in cache.
func debian(ctx context.Context, t *testing.T, cache string) string {
	t.Helper()
	path := filepath.Join(cache, "debian-python.tar")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	tmp := path + ".new"
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=extract", "--format=tar",
		"--include=python3-minimal,dash,coreutils,base-passwd",
		"--customize-hook=rm -rf \"$1\"/usr/share/doc \"$1\"/usr/share/man \"$1\"/usr/share/locale",
		"bookworm", tmp)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// saveImage writes an image of one layer as docker save does.
func saveImage(t *testing.T, path, ref string, layer []byte, config v1.Config) {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
}
