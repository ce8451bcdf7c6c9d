package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/mvm-project/mvm/kernel"
)

// recipe is what decides the bytes of a kernel, besides its source.
type recipe struct {
	flavour  string
	config   []byte  // fragments laid over tinyconfig
	patches  []patch // applied in order
	compiler string  // what the compiler and the linker say they are
}

// newRecipe reads the recipe of a flavour from dir, package kernel's folder. The
// flavour kvm is the base configuration alone; another has a folder of its own
// with a config fragment and patches.
func newRecipe(dir, flavour string) (recipe, error) {
	base, err := os.ReadFile(filepath.Join(dir, "config", "base.config"))
	if err != nil {
		return recipe{}, err
	}
	r := recipe{flavour: flavour, config: base}
	if flavour != kernel.KVM {
		if err := r.addFlavour(filepath.Join(dir, "flavours", flavour)); err != nil {
			return recipe{}, fmt.Errorf("flavour %q: %w", flavour, err)
		}
	}
	for _, tool := range []string{"gcc", "ld"} {
		out, err := exec.Command(tool, "--version").Output()
		if err != nil {
			return recipe{}, fmt.Errorf("%s is needed to build the kernel: %w", tool, err)
		}
		first, _, _ := strings.Cut(string(out), "\n")
		r.compiler += first + "\n"
	}
	return r, nil
}

func (r *recipe) addFlavour(dir string) error {
	delta, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		return err
	}
	r.config = append(append(r.config, '\n'), delta...)
	r.patches, err = readPatches(dir)
	return err
}

// key is the digest of all that decides the kernel's bytes.
func (r recipe) key() string {
	h := sha256.New()
	parts := [][]byte{[]byte(source().deb), []byte(r.compiler), r.config}
	for _, p := range r.patches {
		parts = append(parts, p.diff)
	}
	for _, part := range parts {
		fmt.Fprintf(h, "%d\n", len(part))
		h.Write(part)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// cached returns the kernel of the recipe from cache, built if it is not there.
// Of several processes at once one builds, and one that is killed leaves nothing
// that is taken for a kernel.
func (r recipe) cached(ctx context.Context, cache string) (string, error) {
	path := filepath.Join(cache, r.key(), "vmlinux")
	if _, err := os.Stat(path); err == nil {
		return path, nil // another kernel's build need not be waited for
	}
	lock := flock.New(filepath.Join(cache, "lock"))
	if err := lock.Lock(); err != nil {
		return "", fmt.Errorf("lock %s: %w", cache, err)
	}
	defer lock.Unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := removeBuilds(cache); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, "build-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	deb, err := source().fetch(ctx, cache)
	if err != nil {
		return "", err
	}
	fmt.Printf("kernel: building flavour %s of %s, some minutes the first time\n", r.flavour, source().version)
	if err := r.build(ctx, deb, tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.Rename(filepath.Join(tmp, "vmlinux.stripped"), path)
}

// removeBuilds removes what killed builds left. It needs the cache's lock.
func removeBuilds(cache string) error {
	for _, pattern := range []string{"build-*", "fetch-*"} {
		old, err := filepath.Glob(filepath.Join(cache, pattern))
		if err != nil {
			return err
		}
		for _, dir := range old {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// build leaves dir/vmlinux.stripped, made from the source package deb in dir.
func (r recipe) build(ctx context.Context, deb, dir string) error {
	if err := source().unpack(ctx, deb, dir); err != nil {
		return fmt.Errorf("unpack the kernel's source: %w", err)
	}
	for _, p := range r.patches {
		if err := p.apply(ctx, dir); err != nil {
			return err
		}
	}
	if err := r.configure(ctx, dir); err != nil {
		return err
	}
	if err := makeTarget(ctx, dir, "-j"+strconv.Itoa(runtime.NumCPU()), "vmlinux"); err != nil {
		return fmt.Errorf("build the kernel: %w", err)
	}
	// Symbols are of no use at run time, and a smaller file is mapped sooner.
	return command(ctx, dir, nil, "objcopy", "--strip-all", "vmlinux", "vmlinux.stripped")
}

// configure writes dir/.config and checks that it has what was asked for.
func (r recipe) configure(ctx context.Context, dir string) error {
	if err := makeTarget(ctx, dir, "tinyconfig"); err != nil {
		return err
	}
	path := filepath.Join(dir, ".config")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(r.config)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := makeTarget(ctx, dir, "olddefconfig"); err != nil {
		return err
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return missing(r.config, got)
}

// missing says which options of a fragment did not come out as asked for:
// Kconfig drops those whose dependencies are not met without a word. The last
// line of an option counts.
func missing(want, got []byte) error {
	have, wrong := options(got), []error{}
	for name, value := range options(want) {
		if have[name] != value {
			wrong = append(wrong, fmt.Errorf("%s is %q, not %q as asked for", name, have[name], value))
		}
	}
	return errors.Join(wrong...)
}

// options are the options that a configuration sets; one that is off is "".
func options(config []byte) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(string(config)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutSuffix(line, " is not set"); ok {
			m[strings.TrimPrefix(name, "# ")] = ""
		} else if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "CONFIG_") {
			m[name] = value
		}
	}
	return m
}

// makeTarget runs make with everything pinned that would get into the result.
func makeTarget(ctx context.Context, dir string, args ...string) error {
	args = append([]string{
		"-s", "ARCH=x86_64",
		"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER=mvm", "KBUILD_BUILD_HOST=mvm",
		"KBUILD_BUILD_VERSION=1", "LOCALVERSION=",
	}, args...)
	return command(ctx, dir, nil, "make", args...)
}

// command runs a program in dir; its output is shown only if it fails. The program
// does not outlive this process: make, told to end, ends what it started.
func command(ctx context.Context, dir string, stdin []byte, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread() // the signal comes at the end of the thread that started it
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is needed to build the kernel: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, tail(out))
	}
	return nil
}

// tail is the end of a program's output.
func tail(out []byte) []byte {
	const most = 4 << 10
	return out[max(0, len(out)-most):]
}
