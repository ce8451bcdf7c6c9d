// Package initramfs holds the guest's initramfs, which has guestinit as its only
// program. The build embeds it.
package initramfs

import (
	"embed"
	"path/filepath"

	"github.com/mvm-project/mvm/internal/asset"
)

//go:embed assets
var assets embed.FS

// File is the archive's name in assets/.
const File = "initramfs.cpio"

// Open returns the path of the initramfs below root, mvm's folder, where it is
// written the first time.
func Open(root string) (string, error) {
	return asset.Path(assets, File, filepath.Join(root, "initramfs"))
}
