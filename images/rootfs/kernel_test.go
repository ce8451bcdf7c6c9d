package rootfs

import (
	"archive/tar"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// open gives the disk's tree as a folder of the host: mounted where the kernel
// and the user can, else written out by fsck.erofs.
func open(t *testing.T, path string) string {
	t.Helper()
	mnt := t.TempDir()
	if err := exec.Command("mount", "-t", "erofs", "-o", "ro,loop", path, mnt).Run(); err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(mnt, 0); err != nil {
				t.Error(err)
			}
		})
		return mnt
	}
	t.Log("no EROFS mount here: reading with fsck.erofs")
	dir := mnt + "/x"
	if out, err := exec.Command("fsck.erofs", "--extract="+dir, path).CombinedOutput(); err != nil {
		t.Fatalf("fsck.erofs: %v\n%s", err, out)
	}
	return dir
}

// The kernel's own reader finds what go-erofs finds, and what it cannot name.
func TestKernel(t *testing.T) {
	when := time.Unix(1_700_000_000, 5)
	big := strings.Repeat("big", 1<<20)
	entries := []ent{
		dir("d").mode(0o1777).owner(70_000, 80_000).time(when), file("d/big", big).time(when), hardlink("d/link", "d/big"),
		symlink("s", "d/big"), symlink("long", strings.Repeat("t", 4000)), file("empty", ""),
		special("null", tar.TypeChar, 1, 3), special("blk", tar.TypeBlock, 300, 70_000), special("fifo", tar.TypeFifo, 0, 0),
		file("x", "x").mode(0o6755).xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		file("u", "").xattr("user.long", strings.Repeat("v", 9000)), file("acl", "").xattr(aclUser, "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x04\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"),
	}
	for i := range 500 {
		entries = append(entries, file("many/"+strings.Repeat("n", 100)+time.Unix(int64(i), 0).UTC().Format("0405"), "x"))
	}
	path := mustBuild(t, layer(t, entries...))
	root := open(t, path)
	if diff := cmp.Diff(lines(readDisk(t, path)), lines(readFolder(t, root))); diff != "" {
		t.Errorf("kernel's tree (-go-erofs +kernel):\n%s", diff)
	}
	if info, err := os.Lstat(root + "/d"); err != nil || !info.ModTime().Equal(when) {
		t.Errorf("d: %v, mtime %v, want %v", err, info.ModTime(), when)
	}
}

func TestNamesOfAnyBytes(t *testing.T) {
	name := "\xff\xfe \n\x01é" + strings.Repeat("\x80", 200)
	root := open(t, mustBuild(t, layer(t, file(name, "1"), file("-", "2"), symlink("s", "\xff"))))
	for p, want := range map[string]string{name: "1", "-": "2"} {
		if got, err := os.ReadFile(root + "/" + p); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", p, got, err)
		}
	}
	if got, err := os.Readlink(root + "/s"); err != nil || got != "\xff" {
		t.Errorf("symlink: %q, %v", got, err)
	}
}

// A file of more than 4 GiB, made of a sparse tar entry by GNU tar.
func TestSparseFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	const size = 5 << 30
	for _, off := range []int64{0, 3 << 30, size - 4} {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "pax"} {
		data, err := exec.Command("tar", "-S", "--format="+format, "-C", dir, "-cf", "-", "sparse").Output()
		if err != nil {
			t.Fatal(err)
		}
		path := mustBuild(t, data)
		var st syscallStat
		if st.read(t, path); st.Blocks*512 > 1<<20 {
			t.Errorf("%s: the disk takes %d bytes", format, st.Blocks*512)
		}
		checkSparse(t, open(t, path)+"/sparse", size)
	}
}

func checkSparse(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || st.Size() != size {
		t.Fatalf("size: %v, %v", st.Size(), err)
	}
	for off, want := range map[int64]string{0: "data", 4: "\x00\x00\x00\x00", 3 << 30: "data", size - 4: "data"} {
		got := make([]byte, 4)
		if _, err := f.ReadAt(got, off); err != nil || string(got) != want {
			t.Errorf("at %d: %q, %v", off, got, err)
		}
	}
}
