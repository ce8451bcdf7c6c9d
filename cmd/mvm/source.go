package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/mvm-project/mvm/guestinit/initramfs"
	"github.com/mvm-project/mvm/images"
	"github.com/mvm-project/mvm/images/uroot"
	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/kernel"
)

// pullPolicy says when run pulls an image.
type pullPolicy string

const (
	pullAlways  pullPolicy = "always"
	pullMissing pullPolicy = "missing"
	pullNever   pullPolicy = "never"
)

func (p *pullPolicy) String() string { return string(*p) }

// Type names the value in help.
func (p *pullPolicy) Type() string { return "policy" }

// Set takes a flag's value.
func (p *pullPolicy) Set(s string) error {
	switch v := pullPolicy(s); v {
	case pullAlways, pullMissing, pullNever:
		*p = v
		return nil
	}
	return errors.New("want always, missing or never")
}

// hostPlatform is what mvm's guests run on.
const hostPlatform = "linux/amd64"

// prepare finds what a container is made of: image, kernel, initramfs. A signal
// in the meantime ends it.
func (a *app) prepare(ctx context.Context, signals <-chan os.Signal, ref string, f *runFlags, w container.Overrides, o *container.Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends when prepare does, with cancel
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	img, err := a.image(ctx, ref, f.pull, f.platform)
	if err != nil {
		return err
	}
	o.Image, o.RootDisk, o.RootFS = ref, img.RootDisk, img.RootFS
	for i, m := range o.Mounts {
		if m.Type != container.ImageMount {
			continue
		}
		img, err := a.image(ctx, m.Source, f.pull, f.platform)
		if err != nil {
			return err
		}
		o.Mounts[i].RootDisk, o.Mounts[i].RootFS = img.RootDisk, img.RootFS
	}
	o.Process, err = container.NewProcess(container.Defaults{
		Entrypoint: img.Config.Entrypoint, Cmd: img.Config.Cmd, Env: img.Config.Env,
		User: img.Config.User, WorkingDir: img.Config.WorkingDir,
	}, w)
	if err != nil {
		return fmt.Errorf("image %q: %w", ref, err)
	}
	if err := errors.Join(inherit(o, img.Config), imageVolumes(o, img.Config.Volumes)); err != nil {
		return fmt.Errorf("image %q: %w", ref, err)
	}
	if o.Kernel == "" {
		k, err := kernel.Open(a.root, flavour(o.PVM))
		if err != nil {
			return err
		}
		o.Kernel = k.Path
	}
	o.Initrd, err = initramfs.Open(a.root)
	return err
}

// inherit gives a container what its image says and the user does not.
func inherit(o *container.Options, image images.Config) error {
	labels := maps.Clone(image.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, o.Labels)
	o.Labels = labels
	if o.StopSignal != 0 {
		return nil
	}
	sig, err := parseSignal(image.StopSignal)
	if err != nil {
		return fmt.Errorf("its stop signal: %w", err)
	}
	o.StopSignal = int(sig)
	return nil
}

// image finds an image by the policy, and checks that it runs on this machine.
func (a *app) image(ctx context.Context, ref string, policy pullPolicy, platform string) (images.Image, error) {
	s, err := a.images()
	if err != nil {
		return images.Image{}, err
	}
	img, err := a.find(ctx, s, ref, policy, platform)
	if err != nil {
		return images.Image{}, err
	}
	if !matches(img.Platform, hostPlatform) {
		return images.Image{}, fmt.Errorf("image %q is for %s, and microVMs here run %s: pull it with --platform %[3]s, if there is one", ref, img.Platform, hostPlatform)
	}
	return img, nil
}

func (a *app) find(ctx context.Context, s *images.Store, ref string, policy pullPolicy, platform string) (images.Image, error) {
	if isBuiltin(ref) {
		return a.builtin(ctx, s)
	}
	if policy != pullAlways {
		img, err := s.Get(ref)
		if err == nil && (platform == "" || matches(img.Platform, platform)) {
			return img, nil
		}
		if err == nil {
			err = fmt.Errorf("image %q is here for %s, not for %s", ref, img.Platform, platform)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return images.Image{}, err
		}
		if policy == pullNever {
			return images.Image{}, err
		}
	}
	return pull(ctx, s, ref, images.PullOptions{Platform: platform}, os.Stderr)
}

// matches says whether an image's platform is the one wanted, or a variant.
func matches(have, want string) bool {
	return have == want || strings.HasPrefix(have, want+"/")
}

// pull pulls an image and shows how far it is.
func pull(ctx context.Context, s *images.Store, ref string, o images.PullOptions, progress io.Writer) (images.Image, error) {
	var done func()
	o.Progress, done = showProgress(progress)
	defer done()
	return s.Pull(ctx, ref, o)
}

// isBuiltin says whether ref is the image that is embedded in mvm.
func isBuiltin(ref string) bool { return ref == uroot.Name || ref+":latest" == uroot.Name }

// builtin finds the image that is embedded in mvm; it is loaded when it is first
// used, and again when another build of mvm has another one.
func (a *app) builtin(ctx context.Context, s *images.Store) (images.Image, error) {
	digest, err := uroot.Digest()
	if err != nil {
		return images.Image{}, err
	}
	// The mark of a build says which image it loaded.
	mark := filepath.Join(a.root, "u-root", digest)
	if id, err := os.ReadFile(mark); err == nil {
		if img, err := s.Get(uroot.Name); err == nil && img.ID == string(id) {
			return img, nil
		}
	}
	f, err := uroot.Open()
	if err != nil {
		return images.Image{}, err
	}
	defer func() { _ = f.Close() }()
	loaded, err := s.LoadFrom(ctx, f, images.LoadOptions{Name: uroot.Name})
	if err != nil {
		return images.Image{}, fmt.Errorf("load the built-in image: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(mark), 0o755); err != nil {
		return images.Image{}, err
	}
	return loaded[0], os.WriteFile(mark, []byte(loaded[0].ID), 0o644)
}
