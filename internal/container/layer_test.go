package container

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMakeLayer(t *testing.T) {
	s, _ := testStore(t)
	for _, name := range []string{"one", "two"} {
		path := s.path(name)
		must(t, s.makeLayer(path))
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		if st.Size != layerSize || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: %d bytes, of which %d take space", name, st.Size, st.Blocks*512)
		}
		if out, err := exec.Command("/sbin/debugfs", "-R", "ls /", path).CombinedOutput(); err != nil ||
			!bytes.Contains(out, []byte(" upper ")) || !bytes.Contains(out, []byte(" work ")) {
			t.Errorf("debugfs: %v: %s", err, out)
		}
		if out, err := exec.Command("/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("e2fsck: %v: %s", err, out)
		}
	}
	if n := entries(t, s.path(layersDir)); n != 1 {
		t.Errorf("%d files beside the template", n-1)
	}
	if err := s.makeLayer(s.path("one")); err == nil {
		t.Error("a layer was overwritten")
	}
}

func TestCopyExtents(t *testing.T) {
	dir := t.TempDir()
	for name, at := range map[string][]int64{
		"empty": nil, "begin": {0}, "end": {1 << 20}, "middle": {4096, 1 << 19, 1<<20 - 1},
	} {
		src, err := os.Create(dir + "/" + name)
		must(t, err)
		must(t, src.Truncate(1<<20+3))
		for _, off := range at {
			_, err := src.WriteAt([]byte("abc"), off)
			must(t, err)
		}
		dst, err := os.Create(dir + "/" + name + ".copy")
		must(t, err)
		must(t, copyExtents(dst, src))
		want, err := os.ReadFile(src.Name())
		must(t, err)
		got, err := os.ReadFile(dst.Name())
		must(t, err)
		if !bytes.Equal(want, got) {
			t.Errorf("%s: the copy differs", name)
		}
		must(t, src.Close())
		must(t, dst.Close())
	}
}
