package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

// ent is an entry of a layer.
type ent struct {
	tar.Header
	data string
}

func file(name, data string) ent {
	return ent{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, data}
}

func dir(name string) ent {
	return ent{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

func symlink(name, target string) ent {
	return ent{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

func hardlink(name, target string) ent {
	return ent{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func special(name string, kind byte, major, minor int64) ent {
	return ent{tar.Header{Name: name, Typeflag: kind, Devmajor: major, Devminor: minor, Mode: 0o600}, ""}
}

func (e ent) mode(m int64) ent     { e.Mode = m; return e }
func (e ent) owner(u, g int) ent   { e.Uid, e.Gid = u, g; return e }
func (e ent) time(t time.Time) ent { e.ModTime, e.Format = t, tar.FormatPAX; return e }
func (e ent) xattr(k, v string) ent {
	e.PAXRecords = map[string]string{"SCHILY.xattr." + k: v}
	return e
}

// layer is a layer's tar.
func layer(t testing.TB, entries ...ent) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.data))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// build makes a disk of layers, with default limits unless told.
func build(t testing.TB, layers ...[]byte) (string, error) {
	t.Helper()
	return buildLimited(t, defaultLimits(), layers...)
}

func buildLimited(t testing.TB, l limits, layers ...[]byte) (string, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b := newBuilder(f, l)
	for _, data := range layers {
		if err := b.Layer(context.Background(), bytes.NewReader(data)); err != nil {
			return "", err
		}
	}
	return f.Name(), b.Finish([16]byte{1, 2, 3})
}

// mustBuild makes a disk that fsck.erofs finds nothing wrong with.
func mustBuild(t testing.TB, layers ...[]byte) string {
	t.Helper()
	path, err := build(t, layers...)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("fsck.erofs", path).CombinedOutput(); err != nil {
		t.Fatalf("fsck.erofs: %v\n%s", err, out)
	}
	return path
}

// node is what a test compares of a file.
type node struct {
	mode     fs.FileMode
	uid, gid uint32
	mtime    time.Time
	data     string // content, or its digest if it is long; a symlink's target
	rdev     uint64
	xattrs   map[string]string
	nlink    uint64
	ino      uint64
}

func short(data []byte) string {
	if len(data) <= 64 {
		return string(data)
	}
	return fmt.Sprintf("%d bytes, %x", len(data), sha256.Sum256(data))
}

// readDisk reads a disk with go-erofs, which shares no code with ours. Its paths
// must be UTF-8.
func readDisk(t testing.TB, path string) map[string]node {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	img, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]node{}
	err = fs.WalkDir(img, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n, err := readErofs(img, p, d)
		nodes[p] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func readErofs(img fs.FS, p string, d fs.DirEntry) (node, error) {
	info, err := d.Info()
	if err != nil {
		return node{}, err
	}
	st, ok := info.Sys().(*erofs.Stat)
	if !ok {
		return node{}, errors.New("no erofs.Stat")
	}
	n := node{
		mode: st.Mode, uid: st.UID, gid: st.GID, mtime: time.Unix(int64(st.Mtime), int64(st.MtimeNs)),
		xattrs: xattrs(st.Xattrs), nlink: uint64(st.Nlink), ino: uint64(st.Ino),
	}
	switch {
	case info.Mode().IsRegular():
		data, err := fs.ReadFile(img, p)
		if err != nil {
			return node{}, err
		}
		n.data = short(data)
	case info.Mode()&fs.ModeSymlink != 0:
		n.data, err = fs.ReadLink(img, p)
	case info.Mode()&fs.ModeDevice != 0:
		n.rdev = uint64(st.Rdev)
	}
	return n, err
}

// xattrs mends the names of access lists, to which go-erofs adds a dot.
func xattrs(all map[string]string) map[string]string {
	for _, name := range []string{aclUser, aclDir} {
		if v, ok := all[name+"."]; ok {
			delete(all, name+".")
			all[name] = v
		}
	}
	return all
}

// readFolder reads a tree of the host.
func readFolder(t testing.TB, root string) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		nodes[rel], err = readHost(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func readHost(p string) (node, error) {
	info, err := os.Lstat(p)
	if err != nil {
		return node{}, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return node{}, err
	}
	n := node{mode: info.Mode(), uid: st.Uid, gid: st.Gid, mtime: info.ModTime(), nlink: st.Nlink, ino: st.Ino}
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(p)
		if err != nil {
			return node{}, err
		}
		n.data = short(data)
	case info.Mode()&fs.ModeSymlink != 0:
		n.data, err = os.Readlink(p)
	case info.Mode()&fs.ModeDevice != 0:
		n.rdev = st.Rdev
	}
	if err != nil {
		return node{}, err
	}
	n.xattrs, err = hostXattrs(p)
	return n, err
}

func hostXattrs(p string) (map[string]string, error) {
	buf := make([]byte, 64<<10)
	size, err := unix.Llistxattr(p, buf)
	if err != nil || size == 0 {
		return nil, err
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, err
		}
		all[name] = string(value[:n])
	}
	return all, nil
}

// lines draws a tree, a line for each path but the root, in order. A path that
// is one more name of a former line's file says so.
func lines(nodes map[string]node) []string {
	var out []string
	first := map[uint64]string{}
	for _, p := range slices.Sorted(keys(nodes)) {
		n := nodes[p]
		if p == "." {
			continue
		}
		line := fmt.Sprintf("%v %d:%d %s", n.mode, n.uid, n.gid, p)
		if n.data != "" {
			line += " " + n.data
		}
		if n.rdev != 0 {
			line += fmt.Sprintf(" dev=%d:%d", unix.Major(n.rdev), unix.Minor(n.rdev))
		}
		for _, x := range slices.Sorted(keys(n.xattrs)) {
			line += fmt.Sprintf(" %s=%q", x, n.xattrs[x])
		}
		if other, ok := first[n.ino]; ok {
			line += " is " + other
		} else if !n.mode.IsDir() && n.nlink > 1 {
			first[n.ino] = p
			line += fmt.Sprintf(" names=%d", n.nlink)
		}
		out = append(out, line)
	}
	return out
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

type syscallStat struct{ unix.Stat_t }

func (s *syscallStat) read(t testing.TB, path string) {
	t.Helper()
	if err := unix.Stat(path, &s.Stat_t); err != nil {
		t.Fatal(err)
	}
}
