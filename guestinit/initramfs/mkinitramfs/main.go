// Command mkinitramfs builds guestinit and packs it into the initramfs that
// package initramfs embeds. The same source gives the same bytes.
//
//	mkinitramfs FOLDER
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/mvm-project/mvm/guestinit/initramfs"
	"github.com/mvm-project/mvm/internal/asset"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkinitramfs FOLDER")
		os.Exit(2)
	}
	if err := build(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mkinitramfs:", err)
		os.Exit(1)
	}
}

// build writes the archive and its digest to dir.
func build(dir string) error {
	tmp, err := os.MkdirTemp("", "mkinitramfs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	init, archive := filepath.Join(tmp, "init"), filepath.Join(tmp, initramfs.File)
	if err := compile(init); err != nil {
		return err
	}
	if err := pack(archive, init); err != nil {
		return err
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return asset.Install(dir, initramfs.File, f)
}

// compile builds guestinit: static, without symbols, paths and build IDs.
func compile(out string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out,
		"github.com/mvm-project/mvm/guestinit")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build guestinit: %w", err)
	}
	return nil
}

// pack writes a cpio archive with /init and /dev/null: Go programs open the
// latter in place of standard streams they were not given.
func pack(out, init string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	w := cpio.Newc.Writer(f)
	for _, r := range []cpio.Record{
		cpio.Directory("dev", 0o755),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.StaticFile("init", string(program), 0o755),
	} {
		if err := w.WriteRecord(cpio.MakeReproducible(r)); err != nil {
			return fmt.Errorf("pack %s: %w", r.Name, err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return f.Close()
}
