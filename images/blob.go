package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// maxMeta bounds manifests, indexes and configs, in bytes.
const maxMeta = 8 << 20

// putBlob stores bytes under their digest.
func (s *Store) putBlob(data []byte) (v1.Hash, error) {
	h, _, err := s.addBlob(context.Background(), bytes.NewReader(data))
	return h, err
}

// addBlob stores all of r under its digest, and tells its length.
func (s *Store) addBlob(ctx context.Context, r io.Reader) (v1.Hash, int64, error) {
	f, err := s.create()
	if err != nil {
		return v1.Hash{}, 0, explain(err)
	}
	defer discard(f)
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, sum), s.roomy(&ctxReader{ctx, r}), make([]byte, copySize))
	if err != nil {
		return v1.Hash{}, 0, explain(err)
	}
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	// One that is there already may be damaged: it is replaced.
	return h, n, s.publish(f, blobDir+"/"+h.Hex)
}

// readBlob reads a small blob and verifies it.
func (s *Store) readBlob(h v1.Hash) ([]byte, error) {
	return readVerified(s.blob(h), h)
}

// readVerified reads a file of at most maxMeta bytes whose digest is h.
func readVerified(path string, h v1.Hash) ([]byte, error) {
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is missing", h)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", h, err)
	}
	return data, verify(data, h)
}

// readSmall reads a file of at most maxMeta bytes.
func readSmall(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxMeta {
		return nil, fmt.Errorf("it is larger than %d MiB: no manifest, index or config is", maxMeta>>20)
	}
	return data, nil
}

// openRegular opens a file that may be anything: a FIFO would block, and a
// device never end.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// verify compares data with its digest.
func verify(data []byte, want v1.Hash) error {
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != want.Hex {
		return mismatch(want, hex.EncodeToString(got[:]))
	}
	return nil
}

// digestError is content that does not have the digest it is named by.
type digestError struct{ want, got string }

func (e digestError) Error() string {
	return fmt.Sprintf("digest mismatch: %s came with other content, of digest sha256:%s", e.want, e.got)
}

func mismatch(want v1.Hash, got string) error { return digestError{want.String(), got} }

// ctxReader ends with ctx.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
