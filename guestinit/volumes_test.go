package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFolderIn(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "root")
	for _, dir := range []string{"a/b", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"abs": "/a", "out": "../../..", "var/up": "../a", "nowhere": "/no", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "", "/a": "/a", "/a/b": "/a/b", "a": "/a",
		"/abs/b": "/a/b", "/var/up": "/a", "/out": "", "/out/a": "/a", "/../../a": "/a",
		"/new": "/new", "/abs/x/y": "/a/x/y", "/out/z": "/z",
		"/file": "!", "/file/x": "!", "/nowhere": "!", "/nowhere/x": "!", "/loop": "!",
	} {
		got, err := placeIn(root, path, false)
		if want == "!" {
			if err == nil {
				t.Errorf("%s: %s", path, got)
			}
			continue
		}
		if err != nil || got != root+want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, root+want)
		}
	}
	entries, err := os.ReadDir(top)
	if err != nil || len(entries) != 1 {
		t.Errorf("made outside: %v, %v", entries, err)
	}
}

// TestFill: an empty folder becomes a copy of another, with owner and mode; one
// that is not empty stays.
func TestFill(t *testing.T) {
	top := t.TempDir()
	from, dir := filepath.Join(top, "from"), filepath.Join(top, "data")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(from, "sub"), 0o750), os.Mkdir(dir, 0o755), os.Chmod(from, os.ModeSticky|0o777),
		os.WriteFile(filepath.Join(from, "sub", "file"), []byte("content"), 0o640),
		os.Symlink("/etc", filepath.Join(from, "link")),
		os.MkdirAll(dir+".new/left", 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := fill(dir, from); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "sub", "file")); err != nil || string(text) != "content" {
		t.Errorf("%q, %v", text, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "link")); err != nil || target != "/etc" {
		t.Errorf("%q, %v", target, err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := fill(dir, from); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "link")); err == nil {
		t.Error("a volume that was not empty was filled")
	}
	if entries, err := os.ReadDir(top); err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
