package e2e

import (
	"archive/tar"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// golangLayer is, in /usr/local/go, what of this machine's Go builds a program
// that imports nothing: the tools, and the sources of the runtime.
func golangLayer(ctx context.Context, t *testing.T) []byte {
	t.Helper()
	root := goOutput(ctx, t, "env", "GOROOT")
	patterns := []string{"bin/go", "pkg/include/*"}
	for _, tool := range []string{"asm", "compile", "link"} {
		patterns = append(patterns, "pkg/tool/linux_amd64/"+tool)
	}
	packages := goOutput(ctx, t, "list", "-deps", "runtime")
	for _, p := range append(strings.Fields(packages), "runtime/cgo") { // its headers are the runtime's too
		patterns = append(patterns, "src/"+p+"/*")
	}
	var files []entry
	for _, p := range patterns {
		paths, err := filepath.Glob(filepath.Join(root, p))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s in %s: %d files, %v", p, root, len(paths), err)
		}
		for _, path := range paths {
			files = append(files, golangFile(t, root, path)...)
		}
	}
	return pack(t, files)
}

// golangFile is a file of Go's, below root; nothing if it is a folder or a test.
func golangFile(t *testing.T, root, path string) []entry {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.IsDir() || strings.HasSuffix(path, "_test.go") {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := "usr/local/go" + strings.TrimPrefix(path, root)
	return []entry{{tar.Header{Name: name, Mode: int64(fi.Mode().Perm())}, string(data)}}
}

// golangCache is a cache of Go's, as it is on the host of somebody who has built a
// program before: it has the runtime, which takes four minutes to compile on an emulated
// processor.
func golangCache(ctx context.Context, t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, "go", "build", "runtime")
	cmd.Env = append(os.Environ(), "GOCACHE="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return dir
}

// goOutput is what a command of go prints.
func goOutput(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		t.Fatalf("go %q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}
