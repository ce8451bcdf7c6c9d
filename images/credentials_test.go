package images

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// guarded is a registry that wants alice's password, by Basic or by a token.
func guarded(t *testing.T, bearer bool) (ref string) {
	t.Helper()
	srv := newFaulty(t)
	next := srv.Config.Handler
	var guard *httptest.Server
	guard = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		known := user == "alice" && pass == "secret"
		switch {
		case r.URL.Path == "/token" && known:
			_, _ = w.Write([]byte(`{"token":"t0"}`))
		case r.URL.Path != "/token" && (known && !bearer || bearer && r.Header.Get("Authorization") == "Bearer t0"):
			next.ServeHTTP(w, r)
		case bearer:
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+guard.URL+`/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(guard.Close)
	ref = strings.TrimPrefix(guard.URL, "http://") + "/private:1"
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img := image(t, gzipLayer(t, reg("a", "1")))
	if err := remote.Write(r, img, remote.WithAuth(&authn.Basic{Username: "alice", Password: "secret"})); err != nil {
		t.Fatal(err)
	}
	return ref
}

func login(ref, user, pass string) map[string]any {
	host, _, _ := strings.Cut(ref, "/")
	return map[string]any{"auths": map[string]any{host: map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + pass)),
	}}}
}

// What docker login left is used: from its file, and from a helper program.
func TestCredentials(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		ref := guarded(t, bearer)
		host, _, _ := strings.Cut(ref, "/")
		for _, c := range []struct {
			name   string
			config any
			want   string // in the error; empty: none
		}{
			{"none", map[string]any{}, "docker login " + host},
			{"wrong", login(ref, "alice", "wrong"), "docker login " + host},
			{"right", login(ref, "alice", "secret"), ""},
			{"helper of one registry", map[string]any{"credHelpers": map[string]string{host: "mvmtest"}}, ""},
			{"helper of all registries", map[string]any{"credsStore": "mvmtest"}, ""},
			{"helper that is missing", map[string]any{"credsStore": "mvm-none"}, "credentials"},
		} {
			t.Run(c.name, func(t *testing.T) {
				dockerConfig(t, c.config)
				helper(t)
				s := newStore(t)
				_, err := s.Pull(context.Background(), ref, PullOptions{})
				if c.want == "" && err != nil {
					t.Error(err)
				}
				if c.want != "" {
					wantError(t, err, ref, c.want)
					bare(t, s)
				}
			})
		}
	}
}

// helper puts docker-credential-mvmtest, which knows alice, into PATH.
func helper(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"alice\",\"Secret\":\"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-mvmtest"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// Plain HTTP leaves this machine only when it is told to, and credentials stay
// with their registry.
func TestPlainHTTP(t *testing.T) {
	answer := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	for _, c := range []struct {
		url      string
		insecure bool
		ok       bool
	}{
		{"http://127.0.0.1:5000/v2/", false, true},
		{"http://[::1]:5000/v2/", false, true},
		{"http://localhost/v2/", false, true},
		{"http://registry.localhost/v2/", false, true},
		{"http://10.0.0.1:5000/v2/", false, false},
		{"http://registry.local/v2/", false, false},
		{"http://localhost.example.com/v2/", false, false},
		{"http://10.0.0.1:5000/v2/", true, true},
		{"https://example.com/v2/", false, true},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&httpGuard{answer, c.insecure}).RoundTrip(&http.Request{URL: u})
		if (err == nil) != c.ok {
			t.Errorf("%s, insecure %v: %v", c.url, c.insecure, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A registry that is not there, or does not know the image, is named.
func TestNoRegistry(t *testing.T) {
	s := newStore(t)
	for ref, want := range map[string]string{
		"127.0.0.1:1/a:1":           "connection refused",
		host(newFaulty(t)) + "/a:1": "has no such image",
		"registry.invalid/a:1":      "registry.invalid",
		"UPPER":                     "bad image reference",
		"a@sha256:123":              "bad image reference",
		"a:tag:tag":                 "bad image reference",
		"127.0.0.1:1/" + strings.Repeat("a", 300): "bad image reference",
	} {
		_, err := s.Pull(context.Background(), ref, PullOptions{})
		wantError(t, err, want)
	}
	bare(t, s)
	_, err := s.Pull(context.Background(), "a", PullOptions{Platform: "amd64"})
	wantError(t, err, "bad platform", "linux/amd64")
}
