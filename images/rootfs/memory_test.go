package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// stream is a layer of n entries, made while it is read.
func stream(n int, entry func(int) ent) io.ReadCloser {
	r, w := io.Pipe()
	go func() { // ends when the reader closes, or with the last entry
		tw := tar.NewWriter(w)
		for i := range n {
			e := entry(i)
			e.Size = int64(len(e.data))
			if err := tw.WriteHeader(&e.Header); err != nil {
				return // the reader has closed
			}
			if _, err := io.WriteString(tw, e.data); err != nil {
				return
			}
		}
		_ = w.CloseWithError(tw.Close())
	}()
	return r
}

// heap is what the builder holds after a layer, in bytes.
func heap(t *testing.T, l limits, r io.ReadCloser) (held int64, err error) {
	t.Helper()
	defer func() { _ = r.Close() }()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := newBuilder(f, l)
	err = b.Layer(context.Background(), r)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(b)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc), err
}

// What a hostile layer's entries take in memory stays near what is charged for
// them, however they are made; an endless layer is refused.
func TestMemory(t *testing.T) {
	pad := map[string]string{"MVM.pad": strings.Repeat("p", 256<<10)}
	deep := strings.Repeat(strings.Repeat("d", 250)+"/", 16)
	for _, c := range []struct {
		name  string
		n     int
		entry func(int) ent
	}{
		{"small files", 1 << 30, func(i int) ent { return file(fmt.Sprint("f", i), "") }},
		{"directories", 1 << 30, func(i int) ent { return dir(fmt.Sprintf("%d/%d/%d", i%100, i/100%100, i)) }},
		{"deep paths", 1 << 30, func(i int) ent { return file(deep+fmt.Sprint("f", i), "") }},
		{"one name", 1 << 30, func(int) ent { return file("f", "") }},
		{"whiteouts", 1 << 30, func(i int) ent { return file(fmt.Sprint(".wh.", i), "") }},
		{"hard links", 1 << 30, func(i int) ent {
			if i == 0 {
				return file("f", "")
			}
			return hardlink(fmt.Sprint("l", i), "f")
		}},
		{"attributes", 1 << 30, func(i int) ent { return file(fmt.Sprint("f", i), "").xattr("user.x", strings.Repeat("v", 1000)) }},
		{"long headers", 300, func(i int) ent {
			e := file(fmt.Sprint("é", i), "")
			e.PAXRecords = pad
			return e
		}},
		{"long headers and attributes", 300, func(i int) ent {
			e := file(fmt.Sprint("é", i), "").xattr("user.x", "v")
			e.PAXRecords["MVM.pad"] = pad["MVM.pad"]
			return e
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const limit = 16 << 20
			held, err := heap(t, limits{tree: limit, data: 1 << 30}, stream(c.n, c.entry))
			if endless := c.n == 1<<30; endless && (err == nil || !strings.Contains(err.Error(), "too many files")) || !endless && err != nil {
				t.Errorf("error %v", err)
			}
			t.Logf("%d KiB held", held>>10)
			if held > 2*limit {
				t.Errorf("%d bytes are held, the limit is %d", held, limit)
			}
		})
	}
}

// Paths that lead through many directories and symlinks cost no more than time
// that is bounded.
func TestSteps(t *testing.T) {
	b := newBuilder(nil, defaultLimits())
	b.tree.steps = maxSteps - 10
	err := b.Layer(context.Background(), bytes.NewReader(layer(t, file("a/b/c/d/e/f", ""), file("a/b/c/d/e/g", ""), file("a/b/c/d/e/h", ""))))
	if err == nil || !strings.Contains(err.Error(), "directories and symlinks together") {
		t.Errorf("error %v", err)
	}
}
