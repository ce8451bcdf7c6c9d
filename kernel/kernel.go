// Package kernel is the guest's kernel: how it is made (mkkernel, config/) and
// the one that is embedded in the mvm command.
package kernel

import (
	"embed"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/mvm-project/mvm/internal/asset"
)

//go:embed all:assets
var assets embed.FS

// Names in assets/.
const (
	File     = "vmlinux"
	InfoFile = "kernel.json" // an Info
)

// Info describes a kernel that mkkernel built.
type Info struct {
	Version string // the source package's, as "6.12.117-1~deb12u1"
	Flavour string // "kvm" for ordinary KVM
	Key     string // digest of everything that went into the build
	Digest  string // SHA-256 of the vmlinux
	Size    int64  // of the vmlinux, in bytes
	Path    string // of the vmlinux on this host
}

// Open returns the embedded kernel, and writes it below root, mvm's folder, the
// first time.
func Open(root string) (Info, error) {
	path, err := asset.Path(assets, File, filepath.Join(root, "kernel"))
	if err != nil {
		return Info{}, err
	}
	b, err := assets.ReadFile(asset.Dir + "/" + InfoFile)
	if err != nil {
		return Info{}, fmt.Errorf("this mvm was built without its kernel's description: run make build (%w)", err)
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return Info{}, fmt.Errorf("%s: %w", InfoFile, err)
	}
	info.Path = path
	return info, nil
}
