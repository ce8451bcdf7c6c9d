package images

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push puts an image into the registry at url and returns its reference.
func push(t testing.TB, url, repo string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(url, "http://") + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func TestPullGetSaveLoadRemove(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	ctx := context.Background()
	s := newStore(t)
	ref := push(t, srv.URL, "a/b:1", image(t, gzipLayer(t, dir("bin"), reg("bin/sh", "#!"))))
	pulled, err := s.Pull(ctx, ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{ref, pulled.ID, pulled.ID[7:15], pulled.Digest} {
		got, err := s.Get(by)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(pulled, got); diff != "" {
			t.Errorf("Get(%q) differs from what was pulled: %s", by, diff)
		}
	}
	saved := save(t, s, ref)
	if err := s.Remove(ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ref); err == nil {
		t.Error("the image is there after Remove")
	}
	loaded, err := s.LoadFrom(ctx, strings.NewReader(string(saved)), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Image{pulled}, loaded); diff != "" {
		t.Errorf("loaded differs from what was pulled: %s", diff)
	}
}
