package asset

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func embedded(text string) fstest.MapFS {
	return fstest.MapFS{
		"assets/file":        {Data: []byte(text)},
		"assets/file.digest": {Data: fmt.Appendf(nil, "%x\n", sha256.Sum256([]byte(text)))},
	}
}

func TestPath(t *testing.T) {
	root := t.TempDir()
	fsys := embedded("hello")
	path, err := Path(fsys, "file", root)
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if b, err := os.ReadFile(path); err != nil || string(b) != "hello" {
			t.Fatalf("%s holds %q, %v", path, b, err)
		}
	}
	check()
	// What a crash of another mvm, or a user, left of the file is mended.
	if err := os.WriteFile(path, []byte("hel"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := Path(fsys, "file", root); err != nil || again != path {
		t.Fatalf("again: %s, %v", again, err)
	}
	check()
	left, err := filepath.Glob(filepath.Join(root, "*", ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestNotBuilt(t *testing.T) {
	_, err := Path(fstest.MapFS{"assets/README.md": {}}, "file", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "run make build") {
		t.Errorf("got %v", err)
	}
	bad := embedded("hello")
	bad["assets/file.digest"].Data = []byte("..")
	if _, err := Path(bad, "file", t.TempDir()); err == nil {
		t.Error("a digest that is none was taken")
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Install(filepath.Join(dir, Dir), "file", strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	d, err := Digest(os.DirFS(dir), "file")
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte("hello"))); err != nil || d != want {
		t.Errorf("digest %s, %v; want %s", d, err, want)
	}
}
