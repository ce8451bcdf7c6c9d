// Command mkkernel builds the guest kernel and puts it where package kernel
// embeds it. Source, configuration and compiler decide every byte of the result;
// it is kept in a cache outside the tree under the digest of all three, so that
// it is built once.
//
//	mkkernel [-flavour kvm] FOLDER      from the top of mvm's source
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/mvm-project/mvm/internal/asset"
	"github.com/mvm-project/mvm/kernel"
)

func main() {
	flavour := flag.String("flavour", "kvm", "the kind of KVM host the kernel is for")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: mkkernel [-flavour NAME] FOLDER")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *flavour, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "mkkernel:", err)
		os.Exit(1)
	}
}

// run builds the kernel, or takes it from the cache, and installs it in dir.
func run(ctx context.Context, flavour, dir string) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	r, err := newRecipe("kernel", flavour)
	if err != nil {
		return err
	}
	path, err := r.cached(ctx, cache)
	if err != nil {
		return err
	}
	return install(r, path, dir)
}

// cacheDir is where sources and kernels are kept between builds.
func cacheDir() (string, error) {
	dir := os.Getenv("MVM_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("where to keep the kernel (set MVM_CACHE): %w", err)
		}
		dir = filepath.Join(user, "mvm")
	}
	dir = filepath.Join(dir, "kernel")
	return dir, os.MkdirAll(dir, 0o755)
}

// install puts the kernel at path and its description into dir.
func install(r recipe, path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := asset.Install(dir, kernel.File, f); err != nil {
		return err
	}
	digest, err := asset.Digest(os.DirFS(filepath.Dir(dir)), kernel.File)
	if err != nil {
		return err
	}
	info, err := json.MarshalIndent(kernel.Info{
		Version: source().version, Flavour: r.flavour, Key: r.key(), Digest: digest, Size: fi.Size(),
	}, "", "  ")
	if err != nil {
		return err
	}
	return asset.WriteFile(filepath.Join(dir, kernel.InfoFile), strings.NewReader(string(info)))
}
