package images

import (
	"context"
	"io"
	"os"
	"sync"
)

// arrival is a layer on its way into the store. It can be read from its
// beginning while the rest of it comes: a pull unpacks what it downloads.
//
//	download ---> file ---> arrivalReader -> decompress -> merge
//	      `--- came(n) --------^ waits for more
type arrival struct {
	mu    sync.Mutex
	more  *sync.Cond // on all that follows
	file  *os.File   // what has come; nil if it cannot be read yet
	size  int64      // bytes of file that may be read
	total int64      // bytes there will be
	over  bool       // nothing more comes
	err   error      // why the layer did not come; set before over
}

func newArrival(total int64) *arrival {
	a := &arrival{total: total}
	a.more = sync.NewCond(&a.mu)
	return a
}

// came says that the first size bytes of the layer are in f, which is the
// arrival's from then on.
func (a *arrival) came(f *os.File, size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file, a.size = f, max(a.size, size)
	a.more.Broadcast()
}

// finish says that all has come, or why it did not.
func (a *arrival) finish(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.err, a.over = err, true
	}
	a.more.Broadcast()
}

// close ends the reading; all readers have ended.
func (a *arrival) close() {
	if a.file != nil {
		_ = a.file.Close() // it was only read
	}
}

// wait returns when the layer is here, or cannot be, or ctx is done. That, too,
// has to be told to arrivals, by wake.
func (a *arrival) wait(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.over && ctx.Err() == nil {
		a.more.Wait()
	}
	if a.over {
		return a.err
	}
	return ctx.Err()
}

// open returns the layer's bytes: as they come if they can be read in the
// meantime, else those of the stored blob, when it is there.
func (a *arrival) open(ctx context.Context, blob string) (io.Reader, error) {
	a.mu.Lock()
	for a.file == nil && !a.over && ctx.Err() == nil {
		a.more.Wait()
	}
	stored := a.file == nil && a.over && a.err == nil
	a.mu.Unlock()
	if stored {
		f, err := os.Open(blob)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		a.came(f, st.Size())
	}
	return &arrivalReader{a: a, ctx: ctx}, nil
}

// wake has those who wait look at ctx when it is done.
func (a *arrival) wake(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.more.Broadcast()
	})
}

// arrivalReader reads an arrival from its beginning.
type arrivalReader struct {
	a   *arrival
	ctx context.Context
	off int64
}

// Read waits for bytes to come. The end of a layer that came whole is io.EOF.
func (r *arrivalReader) Read(p []byte) (int, error) {
	f, n, err := r.next()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	n, err = f.ReadAt(p[:min(len(p), n)], r.off)
	r.off += int64(n)
	return n, err
}

// next waits until there is more to read, and tells how much.
func (r *arrivalReader) next() (*os.File, int, error) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	for {
		switch {
		case r.ctx.Err() != nil:
			return nil, 0, r.ctx.Err()
		case r.a.size > r.off:
			return r.a.file, int(min(r.a.size-r.off, 1<<30)), nil
		case r.a.over && r.a.err != nil:
			return nil, 0, r.a.err
		case r.a.over:
			return nil, 0, io.EOF
		}
		r.a.more.Wait()
	}
}
