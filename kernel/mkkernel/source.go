package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pin is the one source that kernels are built from.
type pin struct {
	version string // of Debian's package linux-source-6.12
	deb     string // SHA-256 of the package
	sha1    string // of the package, by which Debian's archive of all versions names it
	tar     string // the source within the package
}

func source() pin {
	return pin{
		version: "6.12.117-1~deb12u1",
		deb:     "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
		sha1:    "221d82478a259628d6016602b619a484e71e9424",
		tar:     "usr/src/linux-source-6.12.tar.xz",
	}
}

// downloadTimeout bounds the fetch of some 150 MB.
const downloadTimeout = 15 * time.Minute

// fetch returns the path of the package in cache, fetched if it is not there. A
// Debian mirror that has gone on to a newer version no longer has it: then it
// comes from Debian's archive of all versions.
func (p pin) fetch(ctx context.Context, cache string) (string, error) {
	path := filepath.Join(cache, "linux-source-"+p.deb[:16]+".deb")
	if p.verify(path) == nil {
		return path, nil
	}
	tmp, err := os.MkdirTemp(cache, "fetch-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	fmt.Println("kernel: fetching Debian's linux-source-6.12", p.version, "(150 MB)")
	got, aptErr := p.apt(ctx, tmp)
	if aptErr == nil {
		aptErr = p.verify(got)
	}
	if aptErr != nil {
		got = filepath.Join(tmp, "archive.deb")
		err := p.archive(ctx, got)
		if err == nil {
			err = p.verify(got)
		}
		if err != nil {
			return "", fmt.Errorf("fetch the kernel's source, linux-source-6.12 %s: %w", p.version,
				errors.Join(fmt.Errorf("by apt-get: %w", aptErr), fmt.Errorf("from snapshot.debian.org: %w", err)))
		}
	}
	return path, os.Rename(got, path)
}

// apt downloads the package into dir by apt-get.
func (p pin) apt(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "linux-source-6.12="+p.version)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	m, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(m) != 1 {
		return "", fmt.Errorf("apt-get left %d files (%w)", len(m), err)
	}
	return m[0], nil
}

// archive downloads the package from Debian's archive of all versions.
func (p pin) archive(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://snapshot.debian.org/file/"+p.sha1, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

// verify checks the package's digest.
func (p pin) verify(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != p.deb {
		return fmt.Errorf("%s has SHA-256 %s, not %s", path, got, p.deb)
	}
	return nil
}

// unpack lays the source in dir.
func (p pin) unpack(ctx context.Context, deb, dir string) error {
	script := `dpkg-deb --fsys-tarfile "$1" | tar -xO "./$2" | tar -xJ --strip-components=1 -C "$3"`
	return command(ctx, dir, nil, "bash", "-o", "pipefail", "-c", script, "unpack", deb, p.tar, dir)
}
