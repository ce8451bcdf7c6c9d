// Package uroot is the default image, which is embedded in the mvm command:
// u-root's core commands and a shell, in two static programs: one has what needs the
// network, the other the rest.
package uroot

import (
	"embed"
	"io/fs"

	"github.com/mvm-project/mvm/internal/asset"
)

//go:embed assets
var assets embed.FS

// File is the image's name in assets/: a tar as docker save writes it.
const File = "u-root.tar"

// Name is the image's name.
const Name = "u-root:latest"

// Open opens the image's tar.
func Open() (fs.File, error) { return asset.Open(assets, File) }

// Digest is the SHA-256 of the image's tar, in hexadecimal: it tells builds apart.
func Digest() (string, error) { return asset.Digest(assets, File) }
