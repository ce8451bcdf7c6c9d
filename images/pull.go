package images

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// PullOptions says how to pull; the zero value is docker's way.
type PullOptions struct {
	// Platform is "OS/ARCH" or "OS/ARCH/VARIANT"; empty: this machine's.
	Platform string
	// Insecure allows plain HTTP, and TLS with any certificate, for a registry
	// that is not on this machine.
	Insecure bool
	// Progress, if set, is called with the progress of each layer.
	Progress func(Event)
}

// Pull brings an image from its registry into the store, with the credentials
// that docker login left. Parts that are here already are not fetched again, an
// interrupted layer is continued.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (Image, error) {
	img, err := s.pull(ctx, ref, o)
	if !resumable(ctx, err) {
		err = errors.Join(err, s.collect())
	}
	if err != nil {
		return Image{}, fmt.Errorf("pull %q: %w", ref, err)
	}
	return img, nil
}

// resumable says that what was pulled so far should be kept for another try.
func resumable(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.As(err, &unfinishedError{}))
}

func (s *Store) pull(ctx context.Context, ref string, o PullOptions) (Image, error) {
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return Image{}, err
	}
	var opts []name.Option
	if o.Insecure {
		opts = append(opts, name.Insecure)
	}
	r, err := parseName(ref, opts...)
	if err != nil {
		return Image{}, err
	}
	unlock, err := s.lock(ctx, lockUse, true)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	p, err := s.connect(ctx, r, o)
	if err != nil {
		return Image{}, explainRemote(err, r)
	}
	defer p.close()
	img, err := p.run(ctx, want)
	return img, explainRemote(err, r)
}

// puller talks to one repository.
type puller struct {
	store  *Store
	ref    name.Reference
	report *reporter
	base   *http.Transport
	rt     http.RoundTripper // base with credentials
}

// idle bounds how long a registry may be silent, within an answer too.
const idle = 60 * time.Second

// connect greets the registry and learns which credentials it wants.
func (s *Store) connect(ctx context.Context, r name.Reference, o PullOptions) (*puller, error) {
	base := remote.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = idle
	if o.Insecure {
		base.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // asked for by the user
	}
	p := &puller{store: s, ref: r, report: &reporter{send: o.Progress}, base: base}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, r.Context())
	if err != nil {
		p.close()
		return nil, fmt.Errorf("read the credentials that docker login left: %w", err)
	}
	guard := &httpGuard{base, o.Insecure}
	p.rt, err = transport.NewWithContext(ctx, r.Context().Registry, auth, guard, []string{r.Scope(transport.PullScope)})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *puller) close() { p.base.CloseIdleConnections() }

// httpGuard lets plain HTTP out to this machine only, unless told otherwise.
type httpGuard struct {
	next     http.RoundTripper
	insecure bool
}

func (g *httpGuard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.insecure && !loopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%s speaks plain HTTP: allow it with --insecure", r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// run resolves the reference and adds the image.
func (p *puller) run(ctx context.Context, want v1.Platform) (Image, error) {
	top, err := remote.Get(p.ref, remote.WithContext(ctx), remote.WithTransport(p.rt))
	if err != nil {
		return Image{}, err
	}
	src := source{small: p.small, layer: p.layer}
	r, err := src.resolve(ctx, []v1.Descriptor{{MediaType: top.MediaType, Digest: top.Digest, Size: top.Size}}, want)
	if err != nil {
		return Image{}, err
	}
	r.name, r.digest = canonical(p.ref), top.Digest.String()
	return p.store.add(ctx, src, r, p.report)
}

// small reads a manifest, index or config, from the store if it is there.
func (p *puller) small(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if data, err := p.store.readBlob(d.Digest); err == nil {
		return data, nil
	}
	if d.MediaType.IsConfig() {
		return p.config(ctx, d)
	}
	got, err := remote.Get(p.ref.Context().Digest(d.Digest.String()), remote.WithContext(ctx), remote.WithTransport(p.rt))
	if err != nil {
		return nil, err
	}
	return got.Manifest, nil
}

// explainRemote puts what a registry's refusal means before it.
func explainRemote(err error, r name.Reference) error {
	var status *transport.Error
	if !errors.As(err, &status) {
		return err
	}
	host := r.Context().RegistryStr()
	switch status.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s refuses: no such image, or not with these credentials (docker login %s): %w", host, host, err)
	case http.StatusNotFound:
		return fmt.Errorf("%s has no such image: %w", host, err)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s allows no more pulls for now: log in or wait: %w", host, err)
	}
	return err
}
