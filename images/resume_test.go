package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// big is an image whose layer takes several reads to arrive.
func big(t testing.TB) (v1.Image, v1.Layer) {
	t.Helper()
	l := gzipLayer(t, reg("noise", noise(1, 1<<20)))
	return image(t, l), l
}

// A registry that goes down in the middle of a layer: the next pull fetches the
// rest, and only that.
func TestResume(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	img, l := big(t)
	ref := push(t, srv.URL, "a:1", img)
	size := int64(len(layerBytes(t, l)))
	want := diskOf(t, mustPull(t, newStore(t), ref))

	const cut = 500_000
	srv.set(cut)
	_, err := s.Pull(context.Background(), ref, PullOptions{})
	wantError(t, err, "pull again to continue", "failed 5 times")
	srv.set(-1)
	got := mustPull(t, s, ref)
	if len(srv.ranges) != 1 {
		t.Fatalf("the second pull asked for the ranges %q", srv.ranges)
	}
	var from int64
	if _, err := fmt.Sscanf(srv.ranges[0], "bytes=%d-", &from); err != nil || from < cut-10_000 || from > cut {
		t.Errorf("the second pull asked for %s, %d bytes had been sent", srv.ranges[0], cut)
	}
	if srv.sent != size-from {
		t.Errorf("the registry sent %d bytes again, the rest was %d", srv.sent, size-from)
	}
	if !bytes.Equal(diskOf(t, got), want) {
		t.Error("the disk differs")
	}
	if left := entries(t, s, partialDir); len(left) > 0 {
		t.Errorf("partial files are left: %q", left)
	}
}

// A registry that breaks off now and then is asked for the rest in one pull,
// though it may know no ranges.
func TestBreaksOff(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprint("deaf ", deaf), func(t *testing.T) {
			srv, s := newFaulty(t), newStore(t)
			img, _ := big(t)
			ref := push(t, srv.URL, "a:1", img)
			want := diskOf(t, mustPull(t, newStore(t), ref))
			srv.deaf = deaf
			times := 0
			srv.forge = func(_ string, body []byte) []byte {
				if times++; len(body) > 1<<18 && times < 6 {
					return body[:len(body)/2]
				}
				return body
			}
			if !bytes.Equal(diskOf(t, mustPull(t, s, ref)), want) {
				t.Error("the disk differs")
			}
		})
	}
}

// The beginning of a layer that was lost in a power cut is fetched again.
func TestResumeDamaged(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	img, l := big(t)
	ref := push(t, srv.URL, "a:1", img)
	h, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, partial := range [][]byte{make([]byte, 1<<19), append(layerBytes(t, l), "more"...), layerBytes(t, l)} {
		if err := os.WriteFile(s.path(partialDir, h.Hex), partial, 0o600); err != nil {
			t.Fatal(err)
		}
		mustPull(t, s, ref)
		if err := s.Remove(ref); err != nil {
			t.Fatal(err)
		}
	}
	bare(t, s)
}

// Parts of the store that were damaged are mended by the next pull.
func TestRepair(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	img, l := big(t)
	ref := push(t, srv.URL, "a:1", img)
	first := mustPull(t, s, ref)
	damage := func(h v1.Hash) {
		t.Helper()
		if err := os.Remove(s.blob(h)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.blob(h), []byte("damaged"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	manifest, config := metadata(t, img)
	for _, h := range []v1.Hash{manifest, config} {
		damage(h)
		_, err := s.Get(ref)
		wantError(t, err, "damaged", "pull or load it again")
		if list, err := s.List(); err == nil || len(list) != 0 {
			t.Errorf("list of a damaged image: %v, %v", list, err)
		}
		if got := mustPull(t, s, ref); got.ID != first.ID {
			t.Errorf("another image: %v", got)
		}
		sound(t, s)
	}
	layer, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	damage(layer)
	wantError(t, s.Save(context.Background(), []string{ref}, &bytes.Buffer{}), "damaged", "digest mismatch")
	if err := os.Remove(first.RootDisk); err != nil {
		t.Fatal(err)
	}
	_, err = s.Pull(context.Background(), ref, PullOptions{})
	wantError(t, err, "stored copy was damaged", "again")
	mustPull(t, s, ref)
	sound(t, s)
}

// A root disk that is lost is made anew.
func TestDiskMadeAnew(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	img, _ := big(t)
	ref := push(t, srv.URL, "a:1", img)
	first := mustPull(t, s, ref)
	want := diskOf(t, first)
	if err := os.Remove(first.RootDisk); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(diskOf(t, got), want) {
		t.Error("the disk differs")
	}
}

// Pulls of one image at one time, by several processes' worth of stores, fetch
// each layer once.
func TestConcurrentPulls(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	var layers []v1.Layer
	total := int64(0)
	for i := range 6 {
		l := gzipLayer(t, reg(fmt.Sprint("noise", i), noise(uint64(i), 300_000)))
		layers = append(layers, l)
		total += int64(len(layerBytes(t, l)))
	}
	ref := push(t, srv.URL, "a:1", image(t, layers...))
	srv.set(-1)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			other, err := Open(s.dir)
			if err == nil {
				_, err = other.Pull(context.Background(), ref, PullOptions{})
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	// Besides the layers there is the config, of each pull.
	if srv.sent < total || srv.sent > total+6*4096 {
		t.Errorf("the registry sent %d bytes, the layers are %d", srv.sent, total)
	}
	sound(t, s)
}

// A cancelled pull ends, and what it has fetched is kept for the next.
func TestCancelledPull(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	img, _ := big(t)
	ref := push(t, srv.URL, "a:1", img)
	srv.set(500_000) // it does not all come before the end
	ctx, cancel := context.WithCancel(context.Background())
	_, err := s.Pull(ctx, ref, PullOptions{Progress: func(e Event) {
		if e.Phase == Download && e.Current > 0 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if left := entries(t, s, partialDir); len(left) != 1 {
		t.Errorf("partial files: %q", left)
	}
	srv.set(-1)
	mustPull(t, s, ref)
	sound(t, s)
}
