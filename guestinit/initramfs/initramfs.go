// Package initramfs holds the guest's initramfs, which has guestinit as its only
// program. The build embeds it; Open puts it where a VMM can read it.
package initramfs

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed all:assets
var assets embed.FS

// Files that the build puts into assets/.
const (
	ArchiveFile = "initramfs.cpio"
	DigestFile  = "initramfs.digest" // hexadecimal SHA-256 of the archive
)

// Open returns the path of the initramfs below root, mvm's folder, where it is
// written the first time.
func Open(root string) (string, error) {
	return open(root, assets)
}

func open(root string, from fs.ReadFileFS) (string, error) {
	archive, err := from.ReadFile("assets/" + ArchiveFile)
	if err != nil {
		return "", fmt.Errorf("this mvm was built without its initramfs: run make build (%w)", err)
	}
	digest, err := from.ReadFile("assets/" + DigestFile)
	if err != nil {
		return "", fmt.Errorf("this mvm was built without its initramfs: run make build (%w)", err)
	}
	path := filepath.Join(root, "initramfs", strings.TrimSpace(string(digest))+".cpio")
	if fi, err := os.Stat(path); err == nil && fi.Size() == int64(len(archive)) {
		return path, nil
	}
	return path, write(path, archive)
}

// write makes path appear whole or not at all.
func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
