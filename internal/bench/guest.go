package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mvm-project/mvm/images/rootfs"
)

// loader is where x86-64 programs look for the dynamic linker; libraries is where
// that looks for libraries in any case.
const (
	loader    = "/lib64/ld-linux-x86-64.so.2"
	libraries = "lib"
)

// find is a program's path: beside this program, else where the shell finds it.
func (o options) find(name string) (string, error) {
	path := filepath.Join(o.Bin, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return exec.LookPath(name)
}

// tree writes programs of this machine, with their libraries, and further files as
// the tar of a root file system.
func (o options) tree(w io.Writer, programs []string, files map[string]string) error {
	sources := map[string]string{loader[1:]: loader}
	for _, name := range programs {
		path, err := o.find(name)
		if err != nil {
			return err
		}
		sources["bin/"+name] = path
		for _, lib := range libsOf(path) {
			sources[libraries+"/"+filepath.Base(lib)] = lib
		}
	}
	tw := tar.NewWriter(w)
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "etc"} {
		if err := tw.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return err
		}
	}
	for name, path := range sources {
		if err := addFile(tw, name, path); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, text); err != nil {
			return err
		}
	}
	return tw.Close()
}

// libsOf are the libraries that a program is linked to: the dynamic linker tells, and
// fails for one that is linked statically.
func libsOf(program string) []string {
	out, _ := exec.Command(loader, "--list", program).Output()
	var libs []string
	for line := range strings.Lines(string(out)) {
		if _, path, ok := strings.Cut(line, "=> "); ok && strings.HasPrefix(path, "/") {
			libs = append(libs, strings.Fields(path)[0])
		}
	}
	return libs
}

func addFile(tw *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: fi.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// rootDisk makes a disk of what write writes as a tar.
func rootDisk(path string, write func(io.Writer) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }() // ends when it is read, or that fails
	b := rootfs.New(f)
	err = b.Layer(context.Background(), r)
	r.CloseWithError(err)
	if err != nil {
		return fmt.Errorf("make the guest's disk: %w", err)
	}
	return b.Finish([16]byte{})
}
