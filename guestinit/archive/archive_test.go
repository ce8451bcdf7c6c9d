package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// tree makes a folder with one of everything.
func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "top")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "sub/empty"), 0o750),
		os.WriteFile(filepath.Join(dir, "file"), bytes.Repeat([]byte("x"), 100_000), 0o640),
		os.Chtimes(filepath.Join(dir, "file"), time.Unix(1, 5), time.Unix(1, 5)),
		os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "sub/hard")),
		os.Symlink("../file", filepath.Join(dir, "sub/soft")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.Chmod(filepath.Join(dir, "sub"), 0o1751),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func do(t *testing.T, a proto.Archive, in []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	err := Do(a, bytes.NewReader(in), &out)
	return out.Bytes(), err
}

func TestThereAndBack(t *testing.T) {
	from, to := tree(t), t.TempDir()
	text, err := do(t, proto.Archive{Do: proto.Pack, Path: from}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, proto.Archive{Do: proto.Unpack, Path: to, KeepOwner: os.Getuid() == 0}, append(text, make([]byte, 9000)...)); err != nil {
		t.Fatal(err)
	}
	again, err := do(t, proto.Archive{Do: proto.Pack, Path: filepath.Join(to, "top")}, nil)
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("%d bytes, then %d, %v", len(text), len(again), err)
	}
}

func TestFollow(t *testing.T) {
	dir := tree(t)
	link := filepath.Join(dir, "sub/soft")
	text, err := do(t, proto.Archive{Do: proto.Pack, Path: link, Follow: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(bytes.NewReader(text)).Next()
	if err != nil || h.Name != "soft" || h.Typeflag != tar.TypeReg || h.Size != 100_000 {
		t.Errorf("%+v %v", h, err)
	}
	for follow, want := range map[bool]string{false: filepath.Join(dir, "file"), true: ""} {
		text, err := do(t, proto.Archive{Do: proto.Stat, Path: link, Follow: follow}, nil)
		var s proto.PathStat
		if err != nil || json.Unmarshal(text, &s) != nil || s.Target != want || s.Name != "soft" {
			t.Errorf("%s %+v %v", text, s, err)
		}
	}
	if _, err := do(t, proto.Archive{Do: "dance"}, nil); err == nil {
		t.Error("dance")
	}
}

// archiveOf is a tar of headers; regular files hold "data".
func archiveOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = w.Write([]byte("data"))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// No name and no link leads out of the folder.
func TestEscape(t *testing.T) {
	base := t.TempDir()
	for _, dir := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../out", filepath.Join(base, "in/there")); err != nil {
		t.Fatal(err)
	}
	for _, headers := range [][]tar.Header{
		{{Name: "../out/a", Typeflag: tar.TypeReg}},
		{{Name: "/../../out/b", Typeflag: tar.TypeReg}},
		{{Name: "there/c", Typeflag: tar.TypeReg}},
		{{Name: "l", Linkname: base + "/out", Typeflag: tar.TypeSymlink}, {Name: "l/d", Typeflag: tar.TypeReg}},
		{{Name: "e", Linkname: "../out/x", Typeflag: tar.TypeLink}},
		{{Name: "there", Typeflag: tar.TypeDir}, {Name: "there/f", Typeflag: tar.TypeFifo}},
	} {
		_, _ = do(t, proto.Archive{Do: proto.Unpack, Path: filepath.Join(base, "in")}, archiveOf(t, headers...))
	}
	entries, err := os.ReadDir(filepath.Join(base, "out"))
	if err != nil || len(entries) > 0 {
		t.Errorf("outside: %v %v", entries, err)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string][]tar.Header{
		"folder":  {{Name: "folder", Typeflag: tar.TypeReg}},
		"f":       {{Name: "f", Typeflag: tar.TypeReg}, {Name: "f/", Typeflag: tar.TypeDir}},
		"unknown": {{Name: "unknown", Typeflag: tar.TypeCont}},
	} {
		if _, err := do(t, proto.Archive{Do: proto.Unpack, Path: dir}, archiveOf(t, headers...)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := do(t, proto.Archive{Do: proto.Unpack, Path: dir}, archiveOf(t,
		tar.Header{Name: "g", Typeflag: tar.TypeReg, Mode: 0o600}, tar.Header{Name: "g", Typeflag: tar.TypeReg, Mode: 0o4755})); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "g")); err != nil || fi.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("%v %v", fi, err)
	}
}

// What a guest sends is unpacked under another name, and harmless.
func TestUntrusted(t *testing.T) {
	for rename, want := range map[string]string{"": "a/f", "b": "b/f", ".": "f"} {
		dir := t.TempDir()
		err := Unpack(dir, Options{Rename: rename, Harmless: true}, bytes.NewReader(archiveOf(t,
			tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755},
			tar.Header{Name: "a/f", Typeflag: tar.TypeReg, Mode: 0o6755},
			tar.Header{Name: "a/hard", Typeflag: tar.TypeLink, Linkname: "a/f"})))
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(filepath.Join(dir, want)); err != nil || fi.Mode() != 0o755 {
			t.Errorf("renamed to %q: %v, %v", rename, fi, err)
		}
	}
	for _, kind := range []byte{tar.TypeChar, tar.TypeBlock} {
		h := tar.Header{Name: "a", Typeflag: kind, Devmajor: 1, Devminor: 3}
		if err := Unpack(t.TempDir(), Options{Harmless: true}, bytes.NewReader(archiveOf(t, h))); !errors.Is(err, errDevice) {
			t.Errorf("a device: %v", err)
		}
	}
	// A file's new name takes it nowhere else.
	dir := t.TempDir()
	if err := Unpack(dir, Options{Rename: "b"}, bytes.NewReader(archiveOf(t, tar.Header{Name: "a/../../c", Typeflag: tar.TypeReg, Mode: 0o600}))); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); err != nil {
		t.Error(err)
	}
}

// FuzzUnpack is a hostile tar: it stays in its folder and ends.
func FuzzUnpack(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		base := t.TempDir()
		in := filepath.Join(base, "in")
		if err := os.Mkdir(in, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = Do(proto.Archive{Do: proto.Unpack, Path: in}, bytes.NewReader(text), nil)
		_ = Unpack(in, Options{Rename: "other", Harmless: true}, bytes.NewReader(text))
		if entries, err := os.ReadDir(base); err != nil || len(entries) != 1 {
			t.Fatalf("outside: %v %v", entries, err)
		}
	})
}
