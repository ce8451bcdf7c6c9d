package ext4

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMake(t *testing.T) {
	dir, templates := t.TempDir(), Templates{t.TempDir()}
	for _, test := range []struct {
		name string
		size int64
	}{{"one", DefaultSize}, {"two", DefaultSize}, {"least", MinSize}, {"large", 1 << 40}} {
		name, path := test.name, filepath.Join(dir, test.name)
		must(t, templates.Make(path, test.size, "upper", "work"))
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		if st.Size != test.size || st.Blocks*512 > 1<<20+test.size>>19 {
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
	if n := len(list(t, templates.Dir)); n != 3 {
		t.Errorf("%d templates of 3 sizes", n)
	}
	if err := templates.Make(filepath.Join(dir, "one"), DefaultSize, "upper", "work"); err == nil {
		t.Error("a file was overwritten")
	}
	must(t, os.MkdirAll(filepath.Join(templates.Dir, ".new-1", "content"), 0o755)) // of a command that was killed
	must(t, templates.Make(filepath.Join(dir, "other"), MinSize, "data"))
	if n := len(list(t, templates.Dir)); n != 4 {
		t.Errorf("%d templates of 4 kinds", n)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]int64{0: DefaultSize, MinSize: MinSize, MinSize + 1: MinSize + 4096, MaxSize: MaxSize} {
		if got, err := Size(n); got != want || err != nil {
			t.Errorf("%d: %d, %v; want %d", n, got, err, want)
		}
	}
	for _, n := range []int64{-1, 1, MinSize - 1, MaxSize + 1} {
		if _, err := Size(n); err == nil {
			t.Errorf("%d was taken", n)
		}
	}
}

func list(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	return entries
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
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
