package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/mvm-project/mvm/images/uroot"
)

// The image is the same bytes each time, and holds what it says.
func TestBuild(t *testing.T) {
	t.Chdir("../../..") // go and build take the source's top
	var built [2][]byte
	var file string
	for i := range built {
		dir := t.TempDir()
		if err := build(dir); err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(dir, uroot.File)
		var err error
		if built[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds differ")
	}
	files := layer(t, file)
	for name, source := range sources() {
		list, err := commands(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if to := files["bbin/"+path.Base(c)].Linkname; to != name {
				t.Errorf("%s is a link to %q, want %s", path.Base(c), to, name)
			}
		}
		if p := files["bbin/"+name]; p.Size < 1<<20 || p.Mode != 0o755 {
			t.Errorf("%s: %d bytes, mode %o", name, p.Size, p.Mode)
		}
	}
}

// layer lists the only layer of the image in file, to the tar's very end.
func layer(t *testing.T, file string) map[string]tar.Header {
	t.Helper()
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(text, make([]byte, 1024)) { // POSIX.1-2001 pax, "ustar Interchange Format"
		t.Error("the layer's tar has no end")
	}
	files := map[string]tar.Header{}
	for tr := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = *h
	}
}
