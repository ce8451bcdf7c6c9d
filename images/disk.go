package images

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/mvm-project/mvm/images/rootfs"
)

const (
	// diskFormat is part of a disk's name: a change of what is written gives
	// new disks.
	diskFormat = "1-"
	// maxUnpacked bounds one layer's uncompressed tar, in bytes.
	maxUnpacked = 512 << 30
	// maxWindow bounds the memory that a zstd layer may ask for, in bytes.
	maxWindow = 128 << 20
)

// diskName names the disk of a chain of layers (OCI image specification,
// config.md, "Layer ChainID"): images of the same layers share it.
func diskName(diffIDs []v1.Hash) (name string, id [16]byte) {
	var chain string
	for i, d := range diffIDs {
		if i == 0 {
			chain = d.String()
			continue
		}
		sum := sha256.Sum256([]byte(chain + " " + d.String()))
		chain = "sha256:" + hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256([]byte(diskFormat + chain))
	return hex.EncodeToString(sum[:]) + ".erofs", [16]byte(sum[:16])
}

// allocated is the space a file takes, in bytes: none if it is not there.
func allocated(path string) (int64, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Blocks * 512, nil
	}
	return st.Size(), nil
}

// disk is the path of an image's root disk.
func (s *Store) disk(cfg *v1.ConfigFile) string {
	name, _ := diskName(cfg.RootFS.DiffIDs)
	return s.path(diskDir, name)
}

// ensureDisk makes the root disk of an image of the store if it was lost, or is
// of an older format.
func (s *Store) ensureDisk(m *v1.Manifest, cfg *v1.ConfigFile) error {
	if ok, err := exists(s.disk(cfg)); ok || err != nil {
		return err
	}
	ctx := context.Background()
	unlock, err := s.lock(ctx, lockUse, true)
	if err != nil {
		return err
	}
	defer unlock()
	here := make([]*arrival, len(m.Layers))
	for i, d := range m.Layers {
		here[i] = newArrival(d.Size)
		here[i].finish(nil)
		defer here[i].close()
	}
	return s.buildDisk(ctx, m, cfg, here, &reporter{})
}

// buildDisk makes an image's root disk unless it is there, of layers that come
// in the meantime.
func (s *Store) buildDisk(ctx context.Context, m *v1.Manifest, cfg *v1.ConfigFile, coming []*arrival, report *reporter) error {
	name, id := diskName(cfg.RootFS.DiffIDs)
	unlock, err := s.lock(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	if ok, err := exists(s.path(diskDir, name)); ok || err != nil {
		return err
	}
	f, err := s.create()
	if err != nil {
		return explain(err)
	}
	defer discard(f)
	b := rootfs.New(f)
	for i, d := range m.Layers {
		if err := s.merge(ctx, b, d.Digest, cfg.RootFS.DiffIDs[i], coming[i], report); err != nil {
			return fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	if err := b.Finish(id); err != nil {
		return fmt.Errorf("write the root disk: %w", explain(err))
	}
	return s.publish(f, diskDir+"/"+name)
}

// merge puts one layer on the disk and compares its content with its diff ID.
func (s *Store) merge(ctx context.Context, b *rootfs.Builder, h, want v1.Hash, a *arrival, report *reporter) error {
	r, err := a.open(ctx, s.blob(h))
	if err != nil {
		return err
	}
	e := Event{Layer: h.String(), Phase: Unpack, Total: a.total}
	report.event(e)
	if err := s.unpack(ctx, b, &meter{r: r, report: report, event: e}, want); err != nil {
		return s.blame(ctx, h, a, err)
	}
	e.Current = e.Total
	report.event(e)
	return nil
}

// unpack merges a compressed layer, whose uncompressed digest must be want.
func (s *Store) unpack(ctx context.Context, b *rootfs.Builder, r io.Reader, want v1.Hash) error {
	plain, closer, err := decompress(r)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	defer closer()
	h := &hasher{r: io.LimitReader(s.roomy(plain), maxUnpacked), sum: sha256.New()}
	if err := b.Layer(ctx, h); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, &ctxReader{ctx, h}); err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	if h.n == maxUnpacked {
		return fmt.Errorf("it unpacks to %d GiB or more", int64(maxUnpacked)>>30)
	}
	if got := hex.EncodeToString(h.sum.Sum(nil)); got != want.Hex {
		return fmt.Errorf("digest mismatch: it unpacks to sha256:%s, the image's config says %s", got, want)
	}
	return nil
}

// hasher computes the digest and length of what is read through it.
type hasher struct {
	r   io.Reader
	sum hash.Hash
	n   int64
}

func (h *hasher) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	h.n += int64(n)
	return n, err
}

// decompress tells gzip, zstd and plain tars apart by their first bytes.
func decompress(r io.Reader) (plain io.Reader, closer func(), err error) {
	in := bufio.NewReaderSize(r, 256<<10)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case isGzip(magic):
		z, err := gzip.NewReader(in)
		return z, func() {}, err
	case isZstd(magic):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

func isGzip(magic []byte) bool { return bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) }

// isZstd knows a frame and a skippable frame (RFC 8878, 3.1).
func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// blame looks, after a failed merge, whether it was the layer on its way that
// was at fault, or the stored one; that is removed then, so that the next pull
// brings it anew.
func (s *Store) blame(ctx context.Context, h v1.Hash, a *arrival, err error) error {
	if ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	// What is wrong inside is the image's fault only if its digest is right.
	if comeErr := a.wait(ctx); comeErr != nil {
		return comeErr
	}
	f, openErr := os.Open(s.blob(h))
	if openErr != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, readErr := io.Copy(sum, f); readErr != nil || hex.EncodeToString(sum.Sum(nil)) == h.Hex {
		return err
	}
	if rmErr := os.Remove(s.blob(h)); rmErr != nil {
		return errors.Join(err, rmErr)
	}
	return fmt.Errorf("the stored copy was damaged and is now removed: pull or load the image again: %w", err)
}
