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

// fill brings the layers, several at a time, and merges them as they come, the
// lowest first. All its goroutines have ended when it returns.
func (s *Store) fill(ctx context.Context, src source, r resolved, report *reporter) error {
	g, ctx := errgroup.WithContext(ctx)
	coming := make([]*arrival, len(r.manifest.Layers))
	for i, d := range r.manifest.Layers {
		coming[i] = newArrival(d.Size)
		if d.Size > 0 {
			report.event(Event{Layer: d.Digest.String(), Phase: Download, Total: d.Size})
		}
		defer coming[i].close()
		defer coming[i].wake(ctx)()
	}
	g.Go(func() error { return s.buildDisk(ctx, r.manifest, r.config, coming, report) })
	slots := make(chan struct{}, parallel)
	g.Go(func() error { // starts them in their order, which is that of the merge
		for i, d := range r.manifest.Layers {
			slots <- struct{}{}
			g.Go(func() error {
				defer func() { <-slots }()
				err := src.layer(ctx, d, coming[i])
				coming[i].finish(err)
				if err != nil {
					return fmt.Errorf("layer %s: %w", d.Digest, err)
				}
				return nil
			})
		}
		return nil
	})
	return g.Wait()
}
