// Command mkuroot builds the image that package uroot embeds. The same source
// gives the same bytes.
//
//	mkuroot FOLDER
package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/mvm-project/mvm/images/uroot"
	"github.com/mvm-project/mvm/internal/asset"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkuroot FOLDER (from the top of mvm's source)")
		os.Exit(2)
	}
	if err := build(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mkuroot:", err)
		os.Exit(1)
	}
}

// build writes the image and its digest to dir.
func build(dir string) error {
	commands, err := commands("images/uroot/commands.go")
	if err != nil {
		return err
	}
	program, err := compile(commands)
	if err != nil {
		return err
	}
	layer, err := pack(program, commands)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	img, err := image(layer)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	tag, err := name.NewTag(uroot.Name)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := tarball.Write(tag, img, &out); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return asset.Install(dir, uroot.File, &out)
}

// commands are the packages that a Go file imports.
func commands(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// compile builds one program of all commands, which answers to each one's name.
func compile(commands []string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "mkuroot")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "bb")
	cmd := exec.Command("go", append([]string{"tool", "makebb", "-o", out}, commands...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("makebb: %w:\n%s", err, text)
	}
	return os.ReadFile(out)
}

// pack makes the image's layer: the program, a link to it for each command, and
// what programs expect around them.
func pack(program []byte, commands []string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var files []tar.Header
	for _, dir := range []string{"bbin", "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "var"} {
		files = append(files, tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
	}
	files = append(files, tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
	for _, c := range commands {
		files = append(files, tar.Header{Typeflag: tar.TypeSymlink, Name: "bbin/" + path.Base(c), Linkname: "bb", Mode: 0o777})
	}
	files = append(files, tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/sh", Linkname: "../bbin/sh", Mode: 0o777})
	for _, h := range files {
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{
		{"bbin/bb", 0o755, program},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n")},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func image(layer []byte) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer)), nil
	})
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config.Architecture, config.OS = "amd64", "linux"
	config.Config = v1.Config{Env: []string{"PATH=/bbin:/bin"}, Cmd: []string{"sh"}}
	return mutate.ConfigFile(img, config)
}
