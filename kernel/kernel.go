// Package kernel is the guest's kernel: how it is made (mkkernel, config/,
// flavours/) and what is embedded of it in the mvm command, one for each kind of
// KVM host.
package kernel

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mvm-project/mvm/internal/asset"
)

//go:embed assets
var assets embed.FS

// Names in assets/FLAVOUR/.
const (
	File     = "vmlinux"
	InfoFile = "kernel.json" // an Info
)

// Flavours of the kernel.
const (
	KVM = "kvm" // for KVM with VMX or SVM: the base configuration, unpatched
	PVM = "pvm" // for kvm-pvm, which interprets the guest's kernel
)

// Flavours are all of them.
func Flavours() []string { return []string{KVM, PVM} }

// Check says whether there is such a flavour.
func Check(flavour string) error {
	if !slices.Contains(Flavours(), flavour) {
		return fmt.Errorf("no kernel flavour %q: there are %s", flavour, strings.Join(Flavours(), " and "))
	}
	return nil
}

// Info describes a kernel that mkkernel built.
type Info struct {
	Version string // the source package's, as "6.12.117-1~deb12u1"
	Flavour string // KVM or PVM
	Key     string // digest of everything that went into the build
	Digest  string // SHA-256 of the vmlinux
	Size    int64  // of the vmlinux, in bytes
	Path    string // of the vmlinux on this host
}

// Open returns the embedded kernel of a flavour, and writes it below root, mvm's
// folder, the first time.
func Open(root, flavour string) (Info, error) {
	if err := Check(flavour); err != nil {
		return Info{}, err
	}
	file, err := asset.Path(assets, path.Join(flavour, File), filepath.Join(root, "kernel"))
	if err != nil {
		return Info{}, err
	}
	b, err := assets.ReadFile(path.Join(asset.Dir, flavour, InfoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("this mvm was built without the description of its kernel %q: run make build", flavour)
	}
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return Info{}, fmt.Errorf("%s of kernel %q: %w", InfoFile, flavour, err)
	}
	info.Path = file
	return info, nil
}
