package container

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docker cp's table of where a source goes.
func TestPlace(t *testing.T) {
	file := end{given: "f", path: "/src/f", exists: true}
	folder := end{given: "d", path: "/src/d", exists: true, folder: true}
	inside := end{given: "d/.", path: "/src/d", exists: true, folder: true}
	at := func(given string, exists, folder bool) end {
		return end{given: given, path: filepath.Clean("/dst/" + given), exists: exists, folder: folder}
	}
	for _, tt := range []struct {
		from, to  end
		dir, name string
		err       string
	}{
		{file, at("new", false, false), "/dst", "new", ""},
		{file, at("new/", false, false), "", "", "new/ is no folder"},
		{file, at("old", true, false), "/dst", "old", ""},
		{file, at("old/", true, false), "", "", "old/ is no folder"},
		{file, at("box", true, true), "/dst/box", "f", ""},
		{folder, at("new", false, false), "/dst", "new", ""},
		{folder, at("new/", false, false), "/dst", "new", ""},
		{folder, at("old", true, false), "", "", "old is a file"},
		{folder, at("box", true, true), "/dst/box", "d", ""},
		{inside, at("new", false, false), "/dst", "new", ""},
		{inside, at("box", true, true), "/dst/box", ".", ""},
		{end{given: "/", path: "/", exists: true, folder: true}, at("box", true, true), "/dst/box", ".", ""},
	} {
		dir, name, err := place(tt.from, tt.to)
		if dir != tt.dir || name != tt.name || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s to %s: %s, %s, %v", tt.from.given, tt.to.given, dir, name, err)
		}
	}
}

func TestHostEnds(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.Mkdir("d", 0o755))
	must(t, os.WriteFile("f", nil, 0o600))
	must(t, os.Symlink("d", "link"))
	here, err := os.Getwd()
	must(t, err)
	for _, tt := range []struct {
		given, path    string
		exists, folder bool
	}{
		{"f", "f", true, false}, {"d", "d", true, true}, {"link", "d", true, true}, {"new", "new", false, false}, {".", ".", true, true},
	} {
		if e, err := hostFile(tt.given); err != nil || e.path != filepath.Join(here, tt.path) || e.exists != tt.exists || e.folder != tt.folder {
			t.Errorf("to %s: %+v, %v", tt.given, e, err)
		}
	}
	for _, tt := range []struct {
		given            string
		follow           bool
		folder, contents bool
	}{
		{given: "f"},
		{given: "link"},
		{given: "link/", folder: true},
		{given: "link", follow: true, folder: true},
		{given: "d/.", folder: true, contents: true},
		{given: ".", folder: true, contents: true},
	} {
		if e, err := hostSource(tt.given, tt.follow); err != nil || e.folder != tt.folder || e.contents() != tt.contents {
			t.Errorf("from %s: %+v, %v", tt.given, e, err)
		}
	}
	if _, err := hostSource("f/", false); err == nil {
		t.Error("a file was taken for a folder")
	}
	if _, err := hostSource("nope", false); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
