package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mvm-project/mvm/kernel"
)

const kernelDir = ".." // package kernel's folder

func mustRecipe(t *testing.T, flavour string) recipe {
	t.Helper()
	r, err := newRecipe(kernelDir, flavour)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOrdinaryUnpatched holds that hosts with VMX or SVM get Debian's source.
func TestOrdinaryUnpatched(t *testing.T) {
	if n := len(mustRecipe(t, kernel.KVM).patches); n != 0 {
		t.Errorf("%d patches", n)
	}
}

func TestUnknownFlavour(t *testing.T) {
	_, err := newRecipe(kernelDir, "xen")
	if err == nil || !strings.Contains(err.Error(), `"xen"`) {
		t.Errorf("%v does not name the flavour", err)
	}
}

// TestPVMConfig holds that the flavour has what the base has, but for what its
// own fragment says.
func TestPVMConfig(t *testing.T) {
	base, all := options(mustRecipe(t, kernel.KVM).config), options(mustRecipe(t, kernel.PVM).config)
	delta, err := os.ReadFile(filepath.Join(kernelDir, "flavours", kernel.PVM, "config"))
	if err != nil {
		t.Fatal(err)
	}
	own := options(delta)
	if len(own) == 0 {
		t.Fatal("the delta is empty")
	}
	for name, value := range base {
		if _, ok := own[name]; !ok && all[name] != value {
			t.Errorf("%s is %q, in the base %q", name, all[name], value)
		}
	}
	for name, value := range own {
		if all[name] != value {
			t.Errorf("%s is %q, in the delta %q", name, all[name], value)
		}
	}
}

func TestMissing(t *testing.T) {
	want := []byte("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=20\n")
	if err := missing(want, []byte("CONFIG_A=y\nCONFIG_C=20\nCONFIG_D=y\n")); err != nil {
		t.Errorf("all is there: %v", err)
	}
	err := missing(want, []byte("CONFIG_B=y\nCONFIG_C=100\n"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"CONFIG_A", "CONFIG_B", "CONFIG_C"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// TestKey changes one thing at a time: a header decides nothing, all else does.
func TestKey(t *testing.T) {
	r := mustRecipe(t, kernel.PVM)
	key := r.key()
	changed := map[string]recipe{}
	other := r
	other.config = append(slices.Clone(r.config), "CONFIG_X=y\n"...)
	changed["config"] = other
	other = r
	other.compiler += "13"
	changed["compiler"] = other
	other = r
	other.patches = slices.Clone(r.patches)
	other.patches[0].diff = append(slices.Clone(r.patches[0].diff), ' ')
	changed["diff"] = other
	other = r
	other.patches = r.patches[1:]
	changed["patches"] = other
	for what, c := range changed {
		if c.key() == key {
			t.Errorf("another %s, and the same key", what)
		}
	}
	other = r
	other.patches = slices.Clone(r.patches)
	other.patches[0].header = nil
	if other.key() != key {
		t.Error("another header, and another key")
	}
}

// TestPatchHeaders holds that each patch says what it is for, and its licence.
func TestPatchHeaders(t *testing.T) {
	form := regexp.MustCompile(`(?s)\A[a-z0-9A-Z/]+: [^\n]{8,64}\n\n.{80,}\n\nLicense: GPL-2\.0`)
	name := regexp.MustCompile(`\A\d{4}-[a-z0-9-]+\.patch\z`)
	for i, p := range mustRecipe(t, kernel.PVM).patches {
		if !form.Match(p.header) {
			t.Errorf("%s: want a subject, why, and License: GPL-2.0", p.name)
		}
		if !name.MatchString(p.name) {
			t.Errorf("patch %d has the name %s", i+1, p.name)
		}
	}
}

// TestPatchesApply applies each flavour's patches to the files they touch, taken
// from the pinned source.
func TestPatchesApply(t *testing.T) {
	patches := mustRecipe(t, kernel.PVM).patches
	if len(patches) == 0 {
		t.Fatal("no patches")
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	deb, err := source().fetch(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	extract(t, deb, dir, touched(t, patches))
	for _, p := range patches {
		if err := p.apply(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
}

// touched are the files that patches change, without those they make.
func touched(t *testing.T, patches []patch) []string {
	t.Helper()
	var files []string
	for _, p := range patches {
		s := bufio.NewScanner(bytes.NewReader(p.diff))
		for s.Scan() {
			if name, ok := strings.CutPrefix(s.Text(), "--- a/"); ok && !slices.Contains(files, name) {
				files = append(files, name)
			}
		}
	}
	return files
}

func extract(t *testing.T, deb, dir string, files []string) {
	t.Helper()
	args := []string{"-o", "pipefail", "-c", `deb=$1 tar=$2 dir=$3; shift 3
		dpkg-deb --fsys-tarfile "$deb" | tar -xO "./$tar" | tar -xJ --strip-components=1 --no-anchored -C "$dir" "$@"`, "extract", deb, source().tar, dir}
	for _, f := range files {
		args = append(args, "linux-source-6.12/"+f)
	}
	if out, err := exec.Command("bash", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
