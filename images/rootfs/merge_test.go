package rootfs

import (
	"archive/tar"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]ent
		want   []string
	}{
		{
			"upper replaces file",
			[][]ent{{file("a", "old"), file("b", "b")}, {file("a", "new").mode(0o4755).owner(100_000, 70_000)}},
			[]string{"urwxr-xr-x 100000:70000 a new", "-rw-r--r-- 0:0 b b"},
		},
		{
			"directory's attributes come from the upper layer, its files from both",
			[][]ent{{dir("d"), file("d/a", "1")}, {dir("d").mode(0o1777).owner(1, 2), file("d/b", "2")}},
			[]string{"dtrwxrwxrwx 1:2 d", "-rw-r--r-- 0:0 d/a 1", "-rw-r--r-- 0:0 d/b 2"},
		},
		{
			"whiteout of a file, of a directory, of nothing",
			[][]ent{
				{file("a", "1"), dir("d"), file("d/x", "1"), file("k", "1")},
				{file(".wh.a", ""), file(".wh.d", ""), file(".wh.none", ""), file("no/such/.wh.x", "")},
			},
			[]string{"-rw-r--r-- 0:0 k 1"},
		},
		{
			"whiteout spares its own layer, before and after",
			[][]ent{
				{file("a", "low"), dir("d").mode(0o700), file("d/low", ""), file("b", "low")},
				{file("a", "up"), file(".wh.a", ""), file("d/up", "1"), file(".wh.d", ""), file(".wh.b", ""), file("b", "up")},
			},
			[]string{"-rw-r--r-- 0:0 a up", "-rw-r--r-- 0:0 b up", "drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/up 1"},
		},
		{
			"opaque directory, its own files before and after",
			[][]ent{
				{dir("d"), file("d/low", ""), dir("d/sub"), file("d/sub/low", "")},
				{dir("d"), file("d/.before", "1"), file("d/.wh..wh..opq", ""), file("d/after", "2"), file("d/sub/x", "3")},
			},
			[]string{
				"drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/.before 1", "-rw-r--r-- 0:0 d/after 2",
				"drwxr-xr-x 0:0 d/sub", "-rw-r--r-- 0:0 d/sub/x 3",
			},
		},
		{
			"opaque mark keeps names that sort before it",
			[][]ent{{dir("d")}, {dir("d"), file("d/.a", "1"), file("d/.wh..wh..opq", ""), file("d/!", "2")}},
			[]string{"drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/! 2", "-rw-r--r-- 0:0 d/.a 1"},
		},
		{
			"opaque root",
			[][]ent{{file("a", "1")}, {file(".wh..wh..opq", ""), file("b", "2")}},
			[]string{"-rw-r--r-- 0:0 b 2"},
		},
		{
			"whiteout in one layer, anew in the next",
			[][]ent{{dir("d"), file("d/a", "1")}, {file(".wh.d", "")}, {file("d/b", "2")}},
			[]string{"drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/b 2"},
		},
		{
			"AUFS's own files are no files",
			[][]ent{{file(".wh..wh.aufs", ""), dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", ""), file("a", "1")}},
			[]string{"-rw-r--r-- 0:0 a 1"},
		},
		{
			"hard links",
			[][]ent{{file("a", "1"), hardlink("d/b", "a"), hardlink("c", "/d/b")}},
			[]string{"-rw-r--r-- 0:0 a 1 names=3", "-rw-r--r-- 0:0 c 1 is a", "drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/b 1 is a"},
		},
		{
			"the target of a hard link is replaced above",
			[][]ent{{file("a", "old"), hardlink("b", "a")}, {file("a", "new")}},
			[]string{"-rw-r--r-- 0:0 a new", "-rw-r--r-- 0:0 b old"},
		},
		{
			"the target of a hard link is whited out above",
			[][]ent{{file("a", "old"), hardlink("b", "a")}, {file(".wh.a", "")}},
			[]string{"-rw-r--r-- 0:0 b old"},
		},
		{
			"hard link to a lower layer's file, which then goes",
			[][]ent{{file("a", "old")}, {hardlink("b", "a")}, {file(".wh.a", ""), hardlink("c", "b")}},
			[]string{"-rw-r--r-- 0:0 b old names=2", "-rw-r--r-- 0:0 c old is b"},
		},
		{
			"hard link to itself, and to a file of the directory it replaces",
			[][]ent{{file("a", "1"), hardlink("a", "a"), dir("d"), file("d/x", "2")}, {hardlink("d", "d/x")}},
			[]string{"-rw-r--r-- 0:0 a 1", "-rw-r--r-- 0:0 d 2"},
		},
		{
			"hard link to a symlink is one more symlink",
			[][]ent{{symlink("s", "../x"), hardlink("t", "s")}},
			[]string{"Lrwxrwxrwx 0:0 s ../x names=2", "Lrwxrwxrwx 0:0 t ../x is s"},
		},
		{
			"file to directory to file",
			[][]ent{{file("a", "1")}, {dir("a"), file("a/b", "2")}, {file("a", "3")}, {file("a/c", "4")}},
			[]string{"drwxr-xr-x 0:0 a", "-rw-r--r-- 0:0 a/c 4"},
		},
		{
			"duplicates: the last one counts",
			[][]ent{{file("a", "1"), file("a", "2"), file("./a", "3"), symlink("b", "x"), dir("b"), dir("c"), symlink("c", "y")}},
			[]string{"-rw-r--r-- 0:0 a 3", "drwxr-xr-x 0:0 b", "Lrwxrwxrwx 0:0 c y"},
		},
		{
			"symlinked parents are followed inside the tree",
			[][]ent{
				{dir("usr/lib"), symlink("lib", "usr/lib"), symlink("abs", "/usr/lib"), symlink("up", "../../../usr"), symlink("hang", "made/here")},
				{file("lib/a", "1"), file("abs/b", "2"), file("up/c", "3"), file("hang/d", "4"), file("lib/.wh.none", "")},
			},
			[]string{
				"Lrwxrwxrwx 0:0 abs /usr/lib", "Lrwxrwxrwx 0:0 hang made/here", "Lrwxrwxrwx 0:0 lib usr/lib",
				"drwxr-xr-x 0:0 made", "drwxr-xr-x 0:0 made/here", "-rw-r--r-- 0:0 made/here/d 4",
				"Lrwxrwxrwx 0:0 up ../../../usr", "drwxr-xr-x 0:0 usr", "-rw-r--r-- 0:0 usr/c 3",
				"drwxr-xr-x 0:0 usr/lib", "-rw-r--r-- 0:0 usr/lib/a 1", "-rw-r--r-- 0:0 usr/lib/b 2",
			},
		},
		{
			"a directory replaces a symlink to one",
			[][]ent{{dir("x"), symlink("s", "x")}, {dir("s"), file("s/a", "1")}},
			[]string{"drwxr-xr-x 0:0 s", "-rw-r--r-- 0:0 s/a 1", "drwxr-xr-x 0:0 x"},
		},
		{
			"names that try to escape stay below the root",
			[][]ent{{file("../../a", "1"), file("/b", "2"), file("d/../../../c", "3"), hardlink("d/e", "../../../a"), symlink("s", "../../.."), file("s/../x/f", "4")}},
			[]string{
				"-rw-r--r-- 0:0 a 1 names=2", "-rw-r--r-- 0:0 b 2", "-rw-r--r-- 0:0 c 3", "drwxr-xr-x 0:0 d",
				"-rw-r--r-- 0:0 d/e 1 is a", "Lrwxrwxrwx 0:0 s ../../..", "drwxr-xr-x 0:0 x", "-rw-r--r-- 0:0 x/f 4",
			},
		},
		{
			"devices, fifos, modes",
			[][]ent{{
				special("null", tar.TypeChar, 1, 3).mode(0o666), special("disk", tar.TypeBlock, 4095, 1<<20-1),
				special("fifo", tar.TypeFifo, 0, 0), file("sg", "x").mode(0o2755), dir("t").mode(0o1777),
			}},
			[]string{
				"Drw------- 0:0 disk dev=4095:1048575", "prw------- 0:0 fifo", "Dcrw-rw-rw- 0:0 null dev=1:3",
				"grwxr-xr-x 0:0 sg x", "dtrwxrwxrwx 0:0 t",
			},
		},
		{
			"extended attributes",
			[][]ent{{
				file("cap", "x").xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00"),
				dir("d").xattr("user.k", "v"), dir("d"), symlink("s", "t").xattr("trusted.k", "long"+strings.Repeat("v", 5000)),
				file("acl", "").xattr("system.posix_acl_access", "\x02\x00\x00\x00"),
				file("odd", "").xattr("trusted.overlay.opaque", "y"), file("odd2", "").xattr("system.nfs4_acl", "y"),
			}},
			[]string{
				`-rw-r--r-- 0:0 acl system.posix_acl_access="\x02\x00\x00\x00"`,
				`-rw-r--r-- 0:0 cap x security.capability="\x01\x00\x00\x02\x00 \x00\x00"`,
				"drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 odd", "-rw-r--r-- 0:0 odd2",
				`Lrwxrwxrwx 0:0 s t trusted.k="long` + strings.Repeat("v", 5000) + `"`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range c.layers {
				layers = append(layers, layer(t, l...))
			}
			got := lines(readDisk(t, mustBuild(t, layers...)))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRootAndTimes(t *testing.T) {
	when := time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC)
	nodes := readDisk(t, mustBuild(t, layer(t, dir("./").mode(0o751).owner(7, 8).time(when), file("a", "").time(when))))
	if r := nodes["."]; r.mode.Perm() != 0o751 || r.uid != 7 || r.gid != 8 {
		t.Errorf("root is %v %d:%d", r.mode, r.uid, r.gid)
	}
	for _, p := range []string{".", "a"} {
		if !nodes[p].mtime.Equal(when) {
			t.Errorf("%s: mtime %v, want %v", p, nodes[p].mtime, when)
		}
	}
}

func TestEmptyImage(t *testing.T) {
	for _, layers := range [][][]byte{nil, {layer(t)}} {
		if got := lines(readDisk(t, mustBuild(t, layers...))); len(got) != 0 {
			t.Errorf("tree of %d empty layers: %q", len(layers), got)
		}
	}
}

// Large directories and long names and targets leave the inode's block.
func TestLargeDirectory(t *testing.T) {
	var entries []ent
	var want []string
	for i := range 3000 {
		name := strings.Repeat(string(rune('a'+i%26)), 1+i%255) + "-" + time.Unix(int64(i), 0).UTC().Format("150405")
		if len(name) > maxName {
			name = name[len(name)-maxName:]
		}
		entries = append(entries, file("d/"+name, name))
		want = append(want, name)
	}
	target := strings.Repeat("t", maxPath-1)
	entries = append(entries, symlink("long", target))
	nodes := readDisk(t, mustBuild(t, layer(t, entries...)))
	for i, name := range want {
		if nodes["d/"+name].data != short([]byte(name)) {
			t.Fatalf("file %d, %q: content %q", i, name, nodes["d/"+name].data)
		}
	}
	if nodes["long"].data != target {
		t.Error("the long symlink differs")
	}
}

func TestDeterministic(t *testing.T) {
	data := strings.Repeat("0123456789abcdef", 100_000)
	low := layer(t, file("a", data), file("b", data), dir("c"), file("c/x", data), hardlink("d", "a"))
	up := layer(t, file(".wh.b", ""), file("c/y", "y"), file("a", "new").xattr("user.a", "1"))
	var disks [2][]byte
	for i := range disks {
		var err error
		if disks[i], err = os.ReadFile(mustBuild(t, low, up)); err != nil {
			t.Fatal(err)
		}
	}
	if string(disks[0]) != string(disks[1]) {
		t.Error("two builds differ")
	}
}

// What is removed above costs no space, and zeros cost none either.
func TestSpace(t *testing.T) {
	const size = 8 << 20
	data, zero := strings.Repeat("x", size), strings.Repeat("\x00", size)
	path := mustBuild(t,
		layer(t, file("gone", data), file("zero", zero), file("mixed", data+zero+"end"), file("gone2", data)),
		layer(t, file(".wh.gone", ""), file("gone2", "small")))
	var st syscallStat
	st.read(t, path)
	if used := st.Blocks * 512; used > size+size/4 {
		t.Errorf("the disk takes %d bytes, want about %d", used, size)
	}
	if got := readDisk(t, path)["mixed"].data; got != short([]byte(data+zero+"end")) {
		t.Errorf("the mixed file is %s", got)
	}
}
