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
	"path"
	"path/filepath"
	"strings"

	"github.com/mvm-project/mvm/internal/asset"
	"github.com/mvm-project/mvm/kernel"
)

func main() {
	flavour := flag.String("flavour", kernel.KVM, "the kind of KVM host the kernel is for: "+strings.Join(kernel.Flavours(), " or "))
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: mkkernel [-flavour NAME] FOLDER")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *flavour, flag.Arg(0))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkkernel:", err)
		os.Exit(1)
	}
}

// run builds the kernel, or takes it from the cache, and installs it in dir.
func run(ctx context.Context, flavour, dir string) error {
	if err := kernel.Check(flavour); err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	r, err := newRecipe("kernel", flavour)
	if err != nil {
		return err
	}
	built, err := r.cached(ctx, cache)
	if err != nil {
		return err
	}
	return install(r, built, dir)
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

// install puts the kernel at built and its description into dir/FLAVOUR.
func install(r recipe, built, dir string) error {
	f, err := os.Open(built)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, r.flavour), 0o755); err != nil {
		return err
	}
	file := path.Join(r.flavour, kernel.File)
	if err := asset.Install(dir, file, f); err != nil {
		return err
	}
	digest, err := asset.Digest(os.DirFS(filepath.Dir(dir)), file)
	if err != nil {
		return err
	}
	info, err := json.MarshalIndent(kernel.Info{
		Version: source().version, Flavour: r.flavour, Key: r.key(), Digest: digest, Size: fi.Size(),
	}, "", "  ")
	if err != nil {
		return err
	}
	return asset.WriteFile(filepath.Join(dir, r.flavour, kernel.InfoFile), strings.NewReader(string(info)))
}
