package images

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// get asks for a blob from the byte offset on. The answer's status is 200 or,
// if the registry agrees to begin there, 206.
func (p *puller) get(ctx context.Context, h v1.Hash, offset int64) (*http.Response, error) {
	reg := p.ref.Context().Registry
	u := url.URL{Scheme: reg.Scheme(), Host: reg.RegistryStr(), Path: "/v2/" + p.ref.Context().RepositoryStr() + "/blobs/" + h.String()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	// The bytes are wanted as they are stored: their digest is known.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := (&http.Client{Transport: p.rt}).Do(req)
	if err != nil {
		return nil, err
	}
	if err := checkAnswer(resp, offset); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func checkAnswer(resp *http.Response, offset int64) error {
	if resp.StatusCode != http.StatusPartialContent {
		return transport.CheckError(resp, http.StatusOK)
	}
	var from int64
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != offset {
		return fmt.Errorf("the registry sends range %q instead of bytes %d-", resp.Header.Get("Content-Range"), offset)
	}
	return nil
}

// config reads an image's config blob.
func (p *puller) config(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Size > maxMeta {
		return nil, fmt.Errorf("config %s is of %d bytes: at most %d are allowed", d.Digest, d.Size, maxMeta)
	}
	resp, err := p.get(ctx, d.Digest, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, d.Size+1))
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", d.Digest, err)
	}
	return data, verify(data, d.Digest)
}
