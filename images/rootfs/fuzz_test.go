package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// FuzzLayers: two layers of any bytes are refused, or make a disk whose parts lie
// inside it, the same each time.
func FuzzLayers(f *testing.F) {
	f.Add(layer(f, dir("d"), file("d/a", "1"), hardlink("b", "d/a"), symlink("s", "/d")), layer(f, file("d/.wh.a", ""), file("s/x", "2")))
	f.Add(layer(f, file("a", "1").xattr("user.x", "v"), special("c", tar.TypeChar, 1, 3)), layer(f, file(".wh..wh..opq", ""), dir("a")))
	f.Add(layer(f, symlink("l", "l"), file("../x/../../y", "")), layer(f, hardlink("y", "x"), file("l/z", "")))
	f.Add([]byte("GNU.sparse"), []byte{})
	dir := f.TempDir()
	make := func(t *testing.T, name string, layers ...[]byte) ([]byte, error) {
		path := filepath.Join(dir, name)
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		b := newBuilder(file, limits{tree: 4 << 20, data: 4 << 20})
		for _, l := range layers {
			if err := b.Layer(context.Background(), bytes.NewReader(l)); err != nil {
				return nil, err
			}
		}
		if err := b.Finish([16]byte{}); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	}
	f.Fuzz(func(t *testing.T, low, up []byte) {
		if len(low)+len(up) > 1<<20 {
			return
		}
		disk, err := make(t, "a", low, up)
		if err != nil {
			return
		}
		again, err := make(t, "b", low, up)
		if err != nil || !bytes.Equal(disk, again) {
			t.Fatalf("the second build differs: %v", err)
		}
		if blocks := binary.LittleEndian.Uint32(disk[superOffset+36:]); int(blocks)*blockSize != len(disk) {
			t.Errorf("%d blocks in %d bytes", blocks, len(disk))
		}
		readDisk(t, filepath.Join(dir, "a"))
	})
}
