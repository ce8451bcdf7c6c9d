package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// attempts is how often a download is tried when it brings nothing new.
const attempts = 5

// layer downloads a layer into the store, continuing what a former call or
// another process began.
func (p *puller) layer(ctx context.Context, d v1.Descriptor) error {
	e := Event{Layer: d.Digest.String(), Phase: Download, Total: d.Size}
	// One process downloads a layer; the others find it done.
	unlock, err := p.store.lock(ctx, d.Digest.Hex, false)
	if err != nil {
		return err
	}
	defer unlock()
	ok, err := exists(p.store.blob(d.Digest))
	if err != nil {
		return err
	}
	if !ok {
		if err := p.download(ctx, d, e); err != nil {
			return err
		}
	}
	e.Current = e.Total
	p.report.event(e)
	return nil
}

// download is a layer on its way into the store: a partial file and the digest
// of what is in it.
type download struct {
	p     *puller
	desc  v1.Descriptor
	event Event
	file  *os.File
	sum   hash.Hash
	have  int64
}

func (p *puller) download(ctx context.Context, d v1.Descriptor, e Event) error {
	f, err := os.OpenFile(p.store.path(partialDir, d.Digest.Hex), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return explain(err)
	}
	defer func() { _ = f.Close() }()
	l := &download{p: p, desc: d, event: e, file: f, sum: sha256.New()}
	if l.have, err = io.Copy(l.sum, &ctxReader{ctx, f}); err != nil {
		return err
	}
	if err := l.persist(ctx); err != nil {
		return err
	}
	if got := hex.EncodeToString(l.sum.Sum(nil)); got != d.Digest.Hex {
		return errors.Join(mismatch(d.Digest, got), os.Remove(f.Name()))
	}
	return p.store.publish(f, blobDir+"/"+d.Digest.Hex)
}

// persist tries until all is here. A try that brought something starts the
// count anew; the waits between tries double.
func (l *download) persist(ctx context.Context) error {
	wait := l.p.store.backoff
	for left := attempts; l.have < l.desc.Size; {
		before := l.have
		err := l.attempt(ctx)
		if err == nil || permanent(err) || ctx.Err() != nil {
			if err != nil || l.have >= l.desc.Size {
				return err
			}
			err = io.ErrUnexpectedEOF
		}
		if l.have > before {
			left, wait = attempts, l.p.store.backoff
		}
		if left--; left == 0 {
			return fmt.Errorf("the registry failed %d times after %d of %d bytes (pull again to continue): %w", attempts, l.have, l.desc.Size, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait *= 2
		}
	}
	return nil
}

// localError is a failure of this machine, not of the registry.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// permanent says that another try would end the same.
func permanent(err error) bool {
	if errors.As(err, &localError{}) {
		return true
	}
	var status *transport.Error
	return errors.As(err, &status) && status.StatusCode < 500 && status.StatusCode != http.StatusTooManyRequests
}

// attempt asks for the bytes that are missing and appends what comes.
func (l *download) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := l.p.get(ctx, l.desc.Digest, l.have)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK && l.have > 0 {
		if err := l.restart(); err != nil { // it sends all, whatever was asked
			return err
		}
	}
	l.event.Current = l.have
	body := &watched{resp.Body, time.AfterFunc(idle, cancel)}
	defer body.timer.Stop()
	// One byte more than there should be shows a body that is too long.
	in := io.LimitReader(body, l.desc.Size-l.have+1)
	n, err := io.Copy(&appender{l}, &meter{r: in, report: l.p.report, event: l.event})
	if err == nil && l.have > l.desc.Size {
		err = localError{errors.Join(fmt.Errorf("the registry sends more than the %d bytes of the manifest", l.desc.Size), os.Remove(l.file.Name()))}
	}
	_ = n
	return err
}

// restart forgets what was downloaded.
func (l *download) restart() error {
	l.have = 0
	l.sum.Reset()
	if err := l.file.Truncate(0); err != nil {
		return localError{err}
	}
	return nil
}

// appender writes to a download's file and digest.
type appender struct{ l *download }

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.l.file.WriteAt(p, a.l.have)
	a.l.sum.Write(p[:n])
	a.l.have += int64(n)
	if err != nil {
		return n, localError{explain(err)}
	}
	return n, nil
}

// watched puts off its timer, which ends the request, with every read.
type watched struct {
	io.Reader
	timer *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.timer.Reset(idle)
	return n, err
}

// get asks for a blob from the byte offset on. The answer's status is 200 or,
// if the registry agrees to begin there, 206.
func (p *puller) get(ctx context.Context, h v1.Hash, offset int64) (*http.Response, error) {
	reg := p.ref.Context().Registry
	u := url.URL{Scheme: reg.Scheme(), Host: reg.RegistryStr(), Path: "/v2/" + p.ref.Context().RepositoryStr() + "/blobs/" + h.String()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
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
