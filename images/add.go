package images

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// parallel is how many layers are brought at a time.
const parallel = 3

// add brings an image that was found in a source into the store. The order is
// what makes it safe to be killed: blobs, then the disk, then the name.
func (s *Store) add(ctx context.Context, src source, r resolved, report *reporter) (Image, error) {
	for _, raw := range [][]byte{r.raw, r.rawCfg} {
		if _, err := s.putBlob(raw); err != nil {
			return Image{}, err
		}
	}
	if err := s.fill(ctx, src, r, report); err != nil {
		return Image{}, err
	}
	e := r.desc
	p := platformOf(r.config)
	e.Platform = &p
	err := s.update(ctx, func(x *v1.IndexManifest) error {
		enter(x, e, r.name, r.digest)
		return nil
	})
	if err != nil {
		return Image{}, fmt.Errorf("name the image: %w", err)
	}
	e.Annotations = map[string]string{annName: r.name, annDigest: r.digest}
	return s.newImage(e, r.manifest, r.config)
}

// fill brings the layers, and merges each as soon as it and those below it are
// there. All its goroutines have ended when it returns.
func (s *Store) fill(ctx context.Context, src source, r resolved, report *reporter) error {
	g, ctx := errgroup.WithContext(ctx)
	here := make([]chan struct{}, len(r.manifest.Layers))
	for i := range here {
		here[i] = make(chan struct{})
	}
	g.Go(func() error {
		ready := func(i int) error {
			select {
			case <-here[i]:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return s.buildDisk(ctx, r.manifest, r.config, ready, report)
	})
	slots := make(chan struct{}, parallel)
	for i, d := range r.manifest.Layers {
		g.Go(func() error {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := src.layer(ctx, d); err != nil {
				return fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			close(here[i])
			return nil
		})
	}
	return g.Wait()
}
