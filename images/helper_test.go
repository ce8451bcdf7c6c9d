package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"
)

// TestMain is the tests, or one command on a store for the tests that kill it.
func TestMain(m *testing.M) {
	if args := os.Getenv("MVM_TEST_CHILD"); args != "" {
		os.Exit(child(strings.Fields(args)))
	}
	goleak.VerifyTestMain(m)
}

// child does VERB STORE [ARG] and returns an exit status.
func child(args []string) int {
	ctx := context.Background()
	s, err := Open(args[1])
	if err == nil {
		switch args[0] {
		case "pull":
			_, err = s.Pull(ctx, args[2], PullOptions{})
		case "load":
			_, err = s.Load(ctx, args[2], LoadOptions{})
		case "remove":
			err = s.Remove(args[2])
		case "prune":
			_, err = s.Prune(false)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// faulty is a registry that counts what it sends of layers, and goes down.
type faulty struct {
	*httptest.Server
	mu     sync.Mutex
	sent   int64    // bytes of blobs
	ranges []string // asked for
	left   int64    // bytes until it goes down; negative: it stays up
	deaf   bool     // it does not know ranges
	forge  func(path string, body []byte) []byte
}

func newFaulty(t testing.TB) *faulty {
	t.Helper()
	f := &faulty{left: -1}
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.serve(w, r, next)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *faulty) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method != http.MethodGet {
		next.ServeHTTP(w, r)
		return
	}
	f.mu.Lock()
	down := f.left == 0
	if v := r.Header.Get("Range"); v != "" {
		f.ranges = append(f.ranges, v)
	}
	from := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil || f.deaf {
		from = 0
	}
	r.Header.Del("Range") // ggcr's registry knows none
	f.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	if f.forge != nil {
		body = f.forge(r.URL.Path, body)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	status := rec.Code
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		body, status = body[from:], http.StatusPartialContent
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if strings.Contains(r.URL.Path, "/blobs/") {
		body = f.meter(body)
	}
	_, _ = w.Write(body)
}

// meter cuts a body where the registry goes down.
func (f *faulty) meter(body []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left >= 0 {
		body = body[:min(int64(len(body)), f.left)]
		f.left -= int64(len(body))
	}
	f.sent += int64(len(body))
	return body
}

func (f *faulty) set(left int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.sent, f.ranges = left, 0, nil
}

// noise is n bytes that do not compress, the same for one seed.
func noise(seed uint64, n int) string {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return string(b)
}

// sound checks that a store is as its package says: what is there under its last
// name is complete, and every image has all its blobs.
func sound(t testing.TB, s *Store) {
	t.Helper()
	for _, e := range entries(t, s, blobDir) {
		data, err := os.ReadFile(s.path(blobDir, e))
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(data, v1.Hash{Algorithm: "sha256", Hex: e}); err != nil {
			t.Errorf("a blob is damaged: %v", err)
		}
	}
	x, err := s.index()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range x.Manifests {
		m, _, err := s.read(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.Layers {
			if ok, err := exists(s.blob(l.Digest)); !ok {
				t.Errorf("layer %s of %s is missing: %v", l.Digest, e.Annotations[annName], err)
			}
		}
	}
}

// entries are the names in one of the store's folders.
func entries(t testing.TB, s *Store, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(s.path(dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// bare checks that a store holds nothing.
func bare(t testing.TB, s *Store) {
	t.Helper()
	for _, dir := range []string{blobDir, diskDir, partialDir, tmpDir} {
		if left := entries(t, s, dir); len(left) > 0 {
			t.Errorf("%s holds %q", dir, left)
		}
	}
}

// diskOf is the content of an image's root disk.
func diskOf(t testing.TB, img Image) []byte {
	t.Helper()
	data, err := os.ReadFile(img.RootDisk)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dockerConfig has ~/.docker/config.json be this, for one test.
func dockerConfig(t *testing.T, config any) {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("HOME", dir)
}

func host(f *faulty) string { return strings.TrimPrefix(f.URL, "http://") }

func mustPull(t testing.TB, s *Store, ref string) Image {
	t.Helper()
	img, err := s.Pull(context.Background(), ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// wantError checks that an error is one line that says all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", words)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q, want %q in it", err, w)
		}
	}
}

// layerBytes is a layer as it lies in a registry.
func layerBytes(t testing.TB, l v1.Layer) []byte {
	t.Helper()
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
