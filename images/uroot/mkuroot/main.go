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
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
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

// program is one of the image's, which answers to the names of its commands.
type program struct {
	name     string
	commands []string // packages
	binary   []byte
}

// sources are the Go files, below the source's top, that import the commands of
// each program.
func sources() map[string]string {
	return map[string]string{"bb": "images/uroot/core.go", "bbnet": "images/uroot/net.go"}
}

// build writes the image and its digest to dir.
func build(dir string) error {
	var programs []program
	files := sources()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p, err := compile(name, files[name])
		if err != nil {
			return err
		}
		programs = append(programs, p)
	}
	layer, err := pack(programs)
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

// compile builds the program of the commands that file imports.
func compile(name, file string) (program, error) {
	p := program{name: name}
	var err error
	if p.commands, err = commands(file); err != nil {
		return p, err
	}
	tmp, err := os.MkdirTemp("", "mkuroot")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, name)
	cmd := exec.Command("go", append([]string{"tool", "makebb", "-o", out}, p.commands...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("makebb: %w:\n%s", err, text)
	}
	p.binary, err = os.ReadFile(out)
	return p, err
}

// file is one of the layer's files, which is empty but for data.
type file struct {
	tar.Header
	data []byte
}

// layout is what the layer holds: the programs, a link to one for each command,
// and what programs expect around them.
func layout(programs []program) []file {
	var files []file
	for _, dir := range []string{"bbin", "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "var"} {
		files = append(files, file{tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil})
	}
	link := func(name, to string) {
		files = append(files, file{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil})
	}
	regular := func(name string, mode int64, data []byte) {
		files = append(files, file{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, data})
	}
	files = append(files, file{tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil})
	for _, p := range programs {
		for _, c := range p.commands {
			link("bbin/"+path.Base(c), p.name)
		}
		regular("bbin/"+p.name, 0o755, p.binary)
	}
	link("bin/sh", "../bbin/sh")
	regular("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"))
	regular("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	return files
}

// pack makes the image's layer.
func pack(programs []program) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range layout(programs) {
		if err := w.WriteHeader(&f.Header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close() // writes the tar's end
	return buf.Bytes(), err
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
