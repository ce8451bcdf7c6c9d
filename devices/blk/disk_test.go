package blk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/mvm-project/mvm/devices/blk"
)

// disk is a Backend in memory, which can be told to fail.
type disk struct {
	bytes   []byte
	fails   error // of every call
	short   int   // if not 0, how many bytes a failing read still gives
	written atomic.Int64
	synced  atomic.Int64
	cleared atomic.Int64 // bytes, by Discard and Zero
}

func (d *disk) Size() int64 { return int64(len(d.bytes)) }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if d.fails != nil {
		return copy(p[:min(d.short, len(p))], d.bytes[off:]), d.fails
	}
	return bytes.NewReader(d.bytes).ReadAt(p, off)
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if d.fails != nil {
		return 0, d.fails
	}
	if off+int64(len(p)) > d.Size() {
		return 0, errors.New("past the end")
	}
	d.written.Add(int64(len(p)))
	return copy(d.bytes[off:], p), nil
}

func (d *disk) Sync() error {
	d.synced.Add(1)
	return d.fails
}

func (d *disk) Discard(off, n int64) error {
	if d.fails != nil {
		return d.fails
	}
	d.cleared.Add(n)
	clear(d.bytes[off : off+n])
	return nil
}

func (d *disk) Zero(off, n int64) error { return d.Discard(off, n) }

// backends runs f with a disk of the given content in memory and in a file;
// content returns what the disk holds now.
func backends(t *testing.T, bytes []byte, f func(t *testing.T, b blk.Backend, content func() []byte)) {
	t.Run("memory", func(t *testing.T) {
		d := &disk{bytes: append([]byte(nil), bytes...)}
		f(t, d, func() []byte { return d.bytes })
	})
	t.Run("file", func(t *testing.T) {
		path := image(t, bytes)
		file, err := blk.OpenFile(path, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := file.Close(); err != nil {
				t.Error(err)
			}
		})
		f(t, file, func() []byte {
			p, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return p
		})
	})
}

func image(t testing.TB, bytes []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// untouched is a disk of 1 TiB that nobody may touch.
type untouched struct{ t *testing.T }

func (untouched) Size() int64 { return 1 << 40 }

func (u untouched) ReadAt(p []byte, _ int64) (int, error) {
	u.t.Error("read")
	return len(p), nil
}

func (u untouched) WriteAt(p []byte, _ int64) (int, error) {
	u.t.Error("written")
	return len(p), nil
}

func (u untouched) Sync() error {
	u.t.Error("synced")
	return nil
}

func (u untouched) Discard(_, _ int64) error {
	u.t.Error("discarded")
	return nil
}

func (u untouched) Zero(_, _ int64) error {
	u.t.Error("zeroed")
	return nil
}
