package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRefused(t *testing.T) {
	long := strings.Repeat("a/", 2000)
	var loop []ent
	for i := range maxLinks + 1 {
		loop = append(loop, symlink(string(rune('A'+i)), string(rune('A'+i+1))))
	}
	deep := []ent{dir(strings.Repeat("d/", 1500)), symlink("s", strings.Repeat("d/", 1500)), file("s/"+strings.Repeat("e/", 600)+"f", "")}
	for _, c := range []struct {
		name    string
		entries []ent
		want    string
	}{
		{"hard link to nothing", []ent{hardlink("a", "b")}, "no such file"},
		{"hard link into nothing", []ent{hardlink("a", "b/c")}, "no such file"},
		{"hard link to a directory", []ent{dir("d"), hardlink("a", "d")}, "is a directory"},
		{"hard link to the root", []ent{hardlink("a", "/")}, "no such file"},
		{"hard link to a file it removes", []ent{file("a", ""), hardlink("a/b", "a")}, "no such file"},
		{"root as a file", []ent{file("..", "x")}, "root is no directory"},
		{"root as a hard link", []ent{file("a", ""), hardlink(".", "a")}, "root is no directory"},
		{"long name", []ent{file(strings.Repeat("n", 256), "")}, "at most 255"},
		{"long directory name", []ent{file(strings.Repeat("n", 256)+"/a", "")}, "at most 255"},
		{"long path", []ent{file(long+long+"f", "")}, "at most 4096"},
		{"long hard link target", []ent{hardlink("a", long+long+"f")}, "at most 4096"},
		{"long symlink", []ent{symlink("a", strings.Repeat("t", 4096))}, "4096 bytes"},
		{"empty symlink", []ent{symlink("a", "")}, "0 bytes"},
		{"symlink loop", []ent{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}, "symlinks on the way"},
		{"symlink chain", append(loop, file("A/x", "")), "symlinks on the way"},
		{"deep directories", deep, "deeper than"},
		{"whiteout of nothing", []ent{file(".wh.", "")}, "no name"},
		{"whiteout of dot", []ent{file("d/.wh..", "")}, "no name"},
		{"whiteout of the parent", []ent{dir("d"), file("d/.wh...", "")}, "no name"},
		{"unknown type", []ent{{tar.Header{Name: "a", Typeflag: 'Z'}, ""}}, "unknown type"},
		{"device major", []ent{special("a", tar.TypeChar, 4096, 0)}, "device 4096:0"},
		{"device minor", []ent{special("a", tar.TypeBlock, 0, 1<<20)}, "device 0:1048576"},
		{"owner", []ent{file("a", "").owner(1<<32, 0)}, "no user"},
		{"attributes", []ent{file("a", "").xattr("user.a", strings.Repeat("v", 64<<10))}, "extended attributes"},
		{"attribute name", []ent{file("a", "").xattr("user."+strings.Repeat("n", 255), "v")}, "extended attributes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := build(t, layer(t, c.entries...))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	data := layer(t, file("a", strings.Repeat("x", 5000)), file("b", "y"))
	for _, n := range []int{1, 511, 513, 3000, 5200} {
		if _, err := build(t, data[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: error %v", n, err)
		}
	}
	if _, err := build(t, []byte(strings.Repeat("this is no tar ", 100))); !errors.Is(err, tar.ErrHeader) {
		t.Errorf("no tar: error %v", err)
	}
}

func TestLimits(t *testing.T) {
	data := layer(t, file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600)))
	if _, err := buildLimited(t, limits{tree: 1 << 20, data: 1200}, data); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := buildLimited(t, limits{tree: 1 << 20, data: 1199}, data); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("over the limit of data: %v", err)
	}
	if _, err := buildLimited(t, limits{tree: 1000, data: 1 << 20}, data); err == nil || !strings.Contains(err.Error(), "too many files") {
		t.Errorf("over the limit of the tree: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := New(f).Layer(ctx, bytes.NewReader(layer(t, file("a", "x")))); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Many whiteouts of one full directory cost no more than their number: this
// would take hours if each looked at all files.
func TestManyWhiteouts(t *testing.T) {
	const n = 100_000
	entries := make([]ent, 0, 2*n)
	for i := range n {
		entries = append(entries, file("d/"+string(rune('a'+i%26))+strings.Repeat("x", i/26%200)+string(rune('0'+i/5200)), ""))
	}
	for range n {
		entries = append(entries, file("d/.wh..wh..opq", ""))
	}
	if _, err := build(t, layer(t, entries...)); err != nil {
		t.Fatal(err)
	}
}
