// Package rules holds the rules of docs/design.md, "Who may import whom", by a
// test over go list.
package rules

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mvm-project/mvm/"

// pkg is what go list says of a package.
type pkg struct {
	Dir, ImportPath string
	Imports, Deps   []string
	GoFiles         []string
	TestGoFiles     []string
	XTestGoFiles    []string
}

// name is the package's path in the module.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// allowed gives for a folder what its packages may import of ours, itself
// included. A package obeys the longest folder that it is in; one in none of them
// may import anything but e2e.
func allowed() map[string][]string {
	return map[string][]string{
		"ratelimit":           {},
		"images":              {"images", "internal/asset"},
		"kernel":              {"kernel", "internal/asset"},
		"e2e":                 {"e2e"},
		"guestinit":           {"guestinit/proto", "guestinit/internal", "guestinit/archive"},
		"guestinit/proto":     {},
		"guestinit/archive":   {"guestinit/proto"},
		"guestinit/initramfs": {"guestinit/initramfs", "internal/asset"},
		"devices":             {"devices", "ratelimit"},
		"vmm":                 {"vmm", "devices", "ratelimit"},
		"vmm/boot":            {},
		"vmm/bus":             {},
		"vmm/kvm":             {},
		"vmm/memory":          {},
	}
}

// unlinked gives for a program what it must not contain.
func unlinked() map[string][]string {
	heavy := []string{"net/http", "google.golang.org/grpc", "github.com/google/go-containerregistry", "gvisor.dev/gvisor", "github.com/containers/gvisor-tap-vsock", "github.com/google/nftables", "github.com/vishvananda/netlink"}
	stack, vmm := []string{"gvisor.dev/gvisor"}, module+"vmm"
	return map[string][]string{
		"cmd/mvm": stack, "cmd/mvm-vmm": heavy, "cmd/mvm-netd": {"net/http", vmm}, "cmd/mvm-fsd": append(heavy, vmm), "guestinit": heavy,
	}
}

// mayUnsafe are the folders whose files named *_unsafe.go may use package unsafe.
func mayUnsafe() []string {
	return []string{"vmm/kvm", "vmm/memory", "devices/virtio", "guestinit/internal/launch", "internal/seccomp"}
}

// within reports whether path is folder or lies in it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// broken are the rules that the packages break, each in a line.
func broken(packages []pkg) []string {
	var wrong []string
	for _, p := range packages {
		for _, i := range p.Imports {
			if i, ours := strings.CutPrefix(i, module); ours && !may(p.name(), i) {
				wrong = append(wrong, p.name()+" imports "+i)
			}
		}
		for _, bad := range unlinked()[p.name()] {
			if slices.ContainsFunc(p.Deps, func(d string) bool { return within(d, bad) }) {
				wrong = append(wrong, p.name()+" links "+bad)
			}
		}
	}
	return wrong
}

// may reports whether package from may import package to.
func may(from, to string) bool {
	rule, found := "", false
	for folder := range allowed() {
		if within(from, folder) && len(folder) >= len(rule) {
			rule, found = folder, true
		}
	}
	if !found {
		return !within(to, "e2e")
	}
	return slices.ContainsFunc(allowed()[rule], func(folder string) bool { return within(to, folder) })
}

func TestImports(t *testing.T) {
	packages := list(t)
	if len(packages) < 20 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, w := range broken(packages) {
		t.Error(w)
	}
}

// TestPlanted: imports that break a rule are found.
func TestPlanted(t *testing.T) {
	for want, p := range map[string]pkg{
		"devices/blk imports vmm":            {ImportPath: module + "devices/blk", Imports: []string{"os", module + "vmm"}},
		"vmm imports cmd/mvm":                {ImportPath: module + "vmm", Imports: []string{module + "cmd/mvm"}},
		"ratelimit imports devices/virtio":   {ImportPath: module + "ratelimit", Imports: []string{module + "devices/virtio"}},
		"images/rootfs imports vmm/boot":     {ImportPath: module + "images/rootfs", Imports: []string{module + "vmm/boot"}},
		"guestinit imports internal/control": {ImportPath: module + "guestinit", Imports: []string{module + "internal/control", module + "guestinit/proto"}},
		"cmd/mvm imports e2e/vhost":          {ImportPath: module + "cmd/mvm", Imports: []string{module + "e2e/vhost", module + "vmm"}},
		"cmd/mvm links gvisor.dev/gvisor":    {ImportPath: module + "cmd/mvm", Deps: []string{"gvisor.dev/gvisor/pkg/tcpip"}},
		"cmd/mvm-vmm links net/http":         {ImportPath: module + "cmd/mvm-vmm", Deps: []string{"net", "net/http/internal"}},
	} {
		if got := broken([]pkg{p}); !slices.Equal(got, []string{want}) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}

// TestUnsafe: package unsafe is used where it may be, by files that say so.
func TestUnsafe(t *testing.T) {
	users := 0
	for _, p := range list(t) {
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			if !usesUnsafe(t, filepath.Join(p.Dir, file)) {
				continue
			}
			users++
			test := strings.HasSuffix(file, "_test.go") && strings.Contains(file, "_unsafe_")
			here := slices.ContainsFunc(mayUnsafe(), func(folder string) bool { return within(p.name(), folder) })
			if !test && (!here || !strings.HasSuffix(file, "_unsafe.go")) {
				t.Errorf("%s/%s uses unsafe", p.name(), file)
			}
		}
	}
	if users < 3 {
		t.Errorf("%d files use unsafe: the test misses them", users)
	}
}

func usesUnsafe(t *testing.T, path string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		if i.Path.Value == `"unsafe"` {
			return true
		}
	}
	return false
}

// list are the packages of the module, with the files for every kind of host.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "kvm",
		"-json=Dir,ImportPath,Imports,Deps,GoFiles,TestGoFiles,XTestGoFiles", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
