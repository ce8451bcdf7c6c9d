package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/mvm-project/mvm/e2e/registry"
	"github.com/mvm-project/mvm/e2e/vhost"
)

// images makes the folder of images that the suite loads: a busybox, Debians with
// servers and tools, a Go, and the programs of programs/. Each was pushed to a real
// registry that wants a password, pulled back by mvm, and saved by it.
func images(ctx context.Context, t *testing.T) string {
	t.Helper()
	srv, err := registry.Start(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	box, base, site := busyboxLayer(ctx, t), debian(ctx, t, packages), siteLayer(t)
	push(ctx, t, srv.Host, "busybox:test", v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}}, box)
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	push(ctx, t, srv.Host, "python:test", v1.Config{Entrypoint: []string{"python3"}, Env: env, WorkingDir: "/srv"}, base)
	push(ctx, t, srv.Host, "nginx:test", v1.Config{Cmd: []string{"sh", "-c", "nginx && exec python3 /srv/get.py"}, Env: env}, base, site)
	push(ctx, t, srv.Host, "programs:test", v1.Config{Env: []string{"PATH=/"}}, programsLayer(ctx, t))
	push(ctx, t, srv.Host, "redis:test", v1.Config{Cmd: strings.Fields(redis), Env: env, Volumes: map[string]struct{}{"/var/lib/redis": {}}}, debian(ctx, t, "redis-server,redis-tools,dash,coreutils"))
	push(ctx, t, srv.Host, "tools:test", v1.Config{Env: env}, debian(ctx, t, "git,sqlite3,dash,coreutils"))
	push(ctx, t, srv.Host, "postgres:test", postgresConfig(), postgresLayers(ctx, t)...)
	push(ctx, t, srv.Host, "golang:test", v1.Config{Env: []string{"PATH=/usr/local/go/bin:/bin"}}, box, golangLayer(ctx, t))
	return fetch(ctx, t, srv.Host, "busybox:test", "python:test", "nginx:test", "programs:test", "redis:test", "tools:test", "postgres:test", "golang:test")
}

// fetch pulls images with mvm and saves each as NAME.tar, under its short name.
func fetch(ctx context.Context, t *testing.T, host string, names ...string) string {
	t.Helper()
	dir, root, home := t.TempDir(), t.TempDir(), t.TempDir()
	mvm := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, filepath.Join("..", "bin", "mvm"), args...)
		cmd.Env = append(os.Environ(), "MVM_ROOT="+root, "HOME="+home, "DOCKER_CONFIG="+home)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := mvm("pull", host+"/"+names[0]); err == nil || !strings.Contains(out, "not with these credentials") {
		t.Fatalf("a pull without credentials: %v\n%s", err, out)
	}
	auth := base64.StdEncoding.EncodeToString([]byte(registry.User + ":" + registry.Password))
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		short, _, _ := strings.Cut(name, ":")
		path := filepath.Join(dir, short+".tar")
		for _, args := range [][]string{
			{"pull", "-q", host + "/" + name},
			{"save", "-o", path, host + "/" + name},
			{"load", "-q", "-i", path, "--name", name},
			{"save", "-o", path, name},
		} {
			if out, err := mvm(args...); err != nil {
				t.Fatalf("mvm %q: %v\n%s", args, err, out)
			}
		}
	}
	return dir
}

// busyboxLayer is Debian's static busybox with a link for each applet, an
// ordinary user, and a file that is not executable.
func busyboxLayer(ctx context.Context, t *testing.T) []byte {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is needed: %v", err)
	}
	applets, err := exec.CommandContext(ctx, "/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var files []entry
	add := func(h tar.Header, data string) { files = append(files, entry{h, data}) }
	for _, dir := range []string{"bin/", "etc/", "home/", "home/alice/", "mnt/", "programs/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, "")
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, string(program))
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + a, Linkname: "busybox", Mode: 0o777}, "")
		}
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644},
		"root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")
	for name, path := range programs(ctx, t) {
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		add(tar.Header{Typeflag: tar.TypeReg, Name: "programs/" + name, Mode: 0o755}, string(program))
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/plain", Mode: 0o644}, "not a program\n")
	return pack(t, files)
}

// programsLayer is each program of programs/, linked statically, in the root
// folder.
func programsLayer(ctx context.Context, t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	build := func(name string, args ...string) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	sources, err := filepath.Glob("programs/c/*.c")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range sources {
		build("gcc", "-static", "-O2", "-Wall", "-Werror", "-fstack-protector-all",
			"-o", filepath.Join(dir, strings.TrimSuffix(filepath.Base(c), ".c")), c)
	}
	build("go", "build", "-o", dir+"/", "./programs/gowork", "./programs/folders")
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// redis keeps its data in /var/lib/redis, and syncs each write.
const redis = "redis-server --bind 0.0.0.0 --protected-mode no --dir /var/lib/redis --appendonly yes --appendfsync always"

// packages are what the Debian images of python and nginx are made of.
const packages = "python3-minimal,nginx,dash,coreutils,base-passwd"

// unwanted is what no image needs of its packages, and is large.
const unwanted = "usr/share/doc usr/share/man usr/share/locale usr/share/i18n usr/share/perl usr/lib/*/perl " +
	"usr/lib/*/libLLVM* usr/lib/*/libz3* usr/lib/postgresql/*/lib/bitcode usr/lib/postgresql/*/lib/llvmjit.so"

// debian is a layer with packages and the libraries they are linked to, made by
// mmdebstrap and kept between runs.
func debian(ctx context.Context, t *testing.T, packages string) []byte {
	t.Helper()
	cache, err := vhost.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, strings.ReplaceAll(packages, ",", "-")+".tar")
	if layer, err := os.ReadFile(path); err == nil {
		return layer
	}
	tmp := path + ".new"
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=extract", "--format=tar", "--include="+packages,
		"--extract-hook=cd \"$1\" && rm -rf "+unwanted,
		"bookworm", tmp)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
	layer, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events {}
http { access_log off; server { listen 8080; root /srv; } }
`

// getPy asks nginx for a page, and looks at what the upper layer did.
const getPy = `import os, socket
s = socket.create_connection(("127.0.0.1", 8080))
s.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
print(b"".join(iter(lambda: s.recv(4096), b"")).decode())
print("capability", os.getxattr("/srv/cap", "security.capability").hex())
print("device", os.major(os.stat("/srv/null").st_rdev), os.minor(os.stat("/srv/null").st_rdev))
print("mode %o" % os.stat("/srv/su").st_mode)
print("links", os.stat("/srv/a").st_nlink, os.stat("/srv/a").st_ino == os.stat("/srv/b").st_ino)
print("whited out", not os.path.exists("/etc/nginx/mime.types"), "opaque", os.listdir("/etc/default"))
`

// siteLayer is what is put on top of Debian: nginx's site, and all that is hard
// about layers.
func siteLayer(t *testing.T) []byte {
	t.Helper()
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	return pack(t, []entry{
		{tar.Header{Name: "etc/passwd", Mode: 0o644}, "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/srv:/bin/false\n"},
		{tar.Header{Name: "etc/group", Mode: 0o644}, "root:x:0:\nwww-data:x:33:\n"},
		{tar.Header{Name: "etc/nginx/nginx.conf", Mode: 0o644}, nginxConf},
		{tar.Header{Name: "etc/nginx/.wh.mime.types"}, ""},
		{tar.Header{Name: "etc/default/.wh..wh..opq"}, ""},
		{tar.Header{Name: "etc/default/mine", Mode: 0o644}, ""},
		{tar.Header{Name: "run/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		{tar.Header{Name: "srv/index.html", Mode: 0o644}, "a page from a microVM\n"},
		{tar.Header{Name: "srv/get.py", Mode: 0o644}, getPy},
		{tar.Header{Name: "srv/cap", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capability}}, "x"},
		{tar.Header{Name: "srv/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, ""},
		{tar.Header{Name: "srv/su", Mode: 0o4755}, "x"},
		{tar.Header{Name: "srv/a", Mode: 0o644}, "linked"},
		{tar.Header{Name: "srv/b", Typeflag: tar.TypeLink, Linkname: "srv/a"}, ""},
	})
}

// entry is a file of a layer.
type entry struct {
	tar.Header
	data string
}

// pack is a layer's tar.
func pack(t *testing.T, files []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		f.Size = int64(len(f.data))
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// push pushes an image of layers to the registry at host.
func push(ctx context.Context, t *testing.T, host, ref string, config v1.Config, layers ...[]byte) {
	t.Helper()
	img, err := makeImage(config, layers)
	if err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	auth := &authn.Basic{Username: registry.User, Password: registry.Password}
	if err := remote.Write(r, img, remote.WithContext(ctx), remote.WithAuth(auth)); err != nil {
		t.Fatalf("push %s: %v", r, err)
	}
}

func makeImage(config v1.Config, layers [][]byte) (v1.Image, error) {
	img := empty.Image
	for _, data := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}, tarball.WithCompressionLevel(gzip.BestSpeed))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	return mutate.ConfigFile(img, file)
}
