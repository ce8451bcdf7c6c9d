// Package asset writes files that are embedded in the mvm command to disk, where
// a VMM can map them: once, under their digest, whole or not at all.
package asset

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is the folder of a package's embedded files; the build fills it.
const Dir = "assets"

// digestSuffix is that of the file beside an asset that holds its SHA-256 in
// hexadecimal, so that nothing is hashed when the asset is used.
const digestSuffix = ".digest"

// Path returns the path of the asset name of fsys below root, as
// root/DIGEST/name. It writes the file if it is not there.
func Path(fsys fs.FS, name, root string) (string, error) {
	digest, err := Digest(fsys, name)
	if err != nil {
		return "", err
	}
	from, err := Open(fsys, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	want, err := from.Stat()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, digest, name)
	if fi, err := os.Stat(path); err == nil && fi.Size() == want.Size() {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := WriteFile(path, from); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}

// Open opens the asset name.
func Open(fsys fs.FS, name string) (fs.File, error) {
	f, err := fsys.Open(Dir + "/" + name)
	if err != nil {
		return nil, notBuilt(name, err)
	}
	return f, nil
}

// Digest is the SHA-256 of the asset name, in hexadecimal.
func Digest(fsys fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(fsys, Dir+"/"+name+digestSuffix)
	if err != nil {
		return "", notBuilt(name, err)
	}
	d := strings.TrimSpace(string(b))
	if len(d) != 2*sha256.Size {
		return "", fmt.Errorf("%s%s holds no SHA-256: run make build", name, digestSuffix)
	}
	return d, nil
}

func notBuilt(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("this mvm was built without %s: run make build", name)
	}
	return err
}

// Install puts a file and its digest into a package's folder of assets, for the
// build.
func Install(dir, name string, from io.Reader) error {
	path := filepath.Join(dir, name)
	h := sha256.New()
	if err := WriteFile(path, io.TeeReader(from, h)); err != nil {
		return err
	}
	return WriteFile(path+digestSuffix, strings.NewReader(fmt.Sprintf("%x\n", h.Sum(nil))))
}

// WriteFile makes path appear with all of from's bytes, on the disk, or not at
// all.
func WriteFile(path string, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails once it is renamed
	defer func() { _ = f.Close() }()
	if _, err := io.Copy(f, from); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
