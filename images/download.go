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
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"
)

// attempts is how often a download is tried when it brings nothing new.
const attempts = 5

// layer downloads a layer into the store, continuing what a former call or
// another process began.
func (p *puller) layer(ctx context.Context, d v1.Descriptor, a *arrival) error {
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
		if err := p.download(ctx, d, a, e); err != nil {
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
	p       *puller
	desc    v1.Descriptor
	event   Event
	file    *os.File
	sum     hash.Hash
	have    int64
	arrival *arrival // told what comes; nil if it waits for all of it
	reader  *os.File // the arrival's, of the same file
}

// download continues a partial file or begins one. A begun layer is unpacked as
// it comes; of a continued one the beginning is trusted only at the end.
func (p *puller) download(ctx context.Context, d v1.Descriptor, a *arrival, e Event) error {
	f, err := os.OpenFile(p.store.path(partialDir, d.Digest.Hex), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return explain(err)
	}
	defer func() { _ = f.Close() }()
	l := &download{p: p, desc: d, event: e, file: f, sum: sha256.New()}
	if l.have, err = io.Copy(l.sum, &ctxReader{ctx, f}); err != nil {
		return err
	}
	continued := l.have > 0
	if !continued {
		if err := l.share(a); err != nil {
			return err
		}
	}
	err = l.complete(ctx)
	if continued && errors.As(err, &digestError{}) { // its beginning was damaged
		l.restart()
		err = l.complete(ctx)
	}
	if err == nil {
		err = f.Truncate(l.have) // a damaged one may have been longer
	}
	if err != nil {
		return errors.Join(err, l.abandon(err))
	}
	return p.store.publish(f, blobDir+"/"+d.Digest.Hex)
}

// share lets the arrival read the file while it grows.
func (l *download) share(a *arrival) error {
	r, err := os.Open(l.file.Name())
	if err != nil {
		return err
	}
	l.arrival, l.reader = a, r
	a.came(r, 0)
	return nil
}

// complete brings all bytes and compares their digest.
func (l *download) complete(ctx context.Context) error {
	if err := l.persist(ctx); err != nil {
		return err
	}
	if got := hex.EncodeToString(l.sum.Sum(nil)); got != l.desc.Digest.Hex {
		return mismatch(l.desc.Digest, got)
	}
	return nil
}

// abandon removes a partial file that nobody should continue: one that is wrong,
// or that fills the disk.
func (l *download) abandon(why error) error {
	if errors.As(why, &digestError{}) || errors.Is(why, errTooLong) || errors.Is(why, unix.ENOSPC) {
		return os.Remove(l.file.Name())
	}
	return nil
}

// unfinishedError is a download that the next one continues.
type unfinishedError struct {
	have, size int64
	error
}

func (e unfinishedError) Error() string {
	return fmt.Sprintf("the registry failed %d times after %d of %d bytes (pull again to continue): %v", attempts, e.have, e.size, e.error)
}

func (e unfinishedError) Unwrap() error { return e.error }

// persist tries until all is here. A try that brought something starts the
// count anew; the waits between tries double.
func (l *download) persist(ctx context.Context) error {
	wait := l.p.store.backoff
	for left := attempts; l.have < l.desc.Size; {
		before := l.have
		err := l.attempt(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx) // abandon wants to know: the disk may be full
		}
		if permanent(err) {
			return err
		}
		if err == nil {
			err = io.ErrUnexpectedEOF // if it is not all
		}
		if l.have > before {
			left, wait = attempts, l.p.store.backoff
		} else if left--; left == 0 {
			return unfinishedError{l.have, l.desc.Size, err}
		}
		if l.have >= l.desc.Size {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
			wait *= 2
		}
	}
	return nil
}

// localError is a failure of this machine, not of the registry.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

var (
	errTooLong = errors.New("the registry sends more bytes of it than the manifest says")
	errSilent  = fmt.Errorf("the registry sent nothing for %v", idle)
)

// permanent says that another try would end the same.
func permanent(err error) bool {
	if errors.As(err, &localError{}) || errors.Is(err, errTooLong) {
		return true
	}
	var status *transport.Error
	return errors.As(err, &status) && status.StatusCode < 500 &&
		status.StatusCode != http.StatusTooManyRequests && status.StatusCode != http.StatusRequestedRangeNotSatisfiable
}

// attempt asks for the bytes that are missing and appends what comes.
func (l *download) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(idle, func() { cancel(errSilent) })
	defer silence.Stop()
	err := l.receive(ctx, silence)
	if context.Cause(ctx) == errSilent { //nolint:errorlint // it is this very value
		return errSilent
	}
	return err
}

// receive appends the body of one answer.
func (l *download) receive(ctx context.Context, silence *time.Timer) error {
	resp, err := l.p.get(ctx, l.desc.Digest, l.have)
	var status *transport.Error
	if errors.As(err, &status) && status.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		l.restart()
	}
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		l.restart() // it sends all, whatever was asked
	}
	l.event.Current = l.have
	// One byte more than there should be shows a body that is too long.
	body := io.LimitReader(&watched{resp.Body, silence}, l.desc.Size-l.have+1)
	_, err = io.CopyBuffer(appender{l}, l.p.store.roomy(&meter{r: body, report: l.p.report, event: l.event}), make([]byte, copySize))
	if err == nil && l.have > l.desc.Size {
		return errTooLong
	}
	return err
}

// copySize is how many bytes are moved at a time.
const copySize = 128 << 10

// restart goes back to the beginning. The file keeps what is in it, for those
// who read it already: it is the same again, or the digest will tell.
func (l *download) restart() {
	l.have = 0
	l.sum.Reset()
}

// appender writes to a download's file and digest.
type appender struct{ l *download }

func (a appender) Write(p []byte) (int, error) {
	n, err := a.l.file.WriteAt(p, a.l.have)
	a.l.sum.Write(p[:n])
	a.l.have += int64(n)
	if a.l.arrival != nil {
		a.l.arrival.came(a.l.reader, min(a.l.have, a.l.desc.Size))
	}
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
