// Package registry runs a real registry, Debian's docker-registry, for tests.
package registry

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// User and Password are those of a registry that wants credentials.
const (
	User     = "alice"
	Password = "secret"
)

// htpasswd has Password under bcrypt, of the least cost.
const htpasswd = User + ":$2b$04$.kzCi.6M/6eq7WHkZCkymux6vtsuuiaVgzVr6/RPqLBFR.KuYquwO\n"

// Registry is a running docker-registry on loopback, behind a proxy that can
// break what it sends.
type Registry struct {
	// Host is its "127.0.0.1:PORT".
	Host    string
	program *exec.Cmd
	exited  chan struct{}
	server  *http.Server
	blobs   atomic.Int64 // bytes of blobs it may still send; negative: any number
	flip    atomic.Bool  // spoil what it sends
}

// Start starts a registry that keeps its data in dir; with private set it wants
// User's password. The caller closes it.
func Start(dir string, private bool) (*Registry, error) {
	back, err := freePort()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n", dir, back)
	if private {
		path := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(path, []byte(htpasswd), 0o600); err != nil {
			return nil, err
		}
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", path)
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	r := &Registry{program: exec.Command("docker-registry", "serve", path), exited: make(chan struct{})}
	r.blobs.Store(-1)
	if err := r.program.Start(); err != nil {
		return nil, fmt.Errorf("start docker-registry, of Debian's package docker-registry: %w", err)
	}
	go func() { // ends with the program
		_ = r.program.Wait()
		close(r.exited)
	}()
	if err := r.await(back); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, r.proxy(back)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// await returns when the registry answers.
func (r *Registry) await(addr string) error {
	for range 400 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-r.exited:
			return fmt.Errorf("docker-registry has exited: %s", r.program.ProcessState)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("docker-registry does not answer on %s", addr)
}

// proxy passes requests on to the registry at back.
func (r *Registry) proxy(back string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, r.Close())
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(q *httputil.ProxyRequest) {
			q.SetURL(&url.URL{Scheme: "http", Host: back})
			q.Out.Host = q.In.Host // locations name it
		},
		ModifyResponse: r.spoil,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	r.Host = l.Addr().String()
	r.server = &http.Server{Handler: p, ErrorLog: p.ErrorLog, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(l) }() // ends with Close
	return nil
}

// Break lets the registry send n more bytes of blobs and then go down; negative:
// it stays up.
func (r *Registry) Break(n int64) { r.blobs.Store(n) }

// Flip has the registry spoil the blobs it sends.
func (r *Registry) Flip(on bool) { r.flip.Store(on) }

// spoil changes an answer as Break and Flip say.
func (r *Registry) spoil(resp *http.Response) error {
	left := r.blobs.Load()
	if left == 0 && resp.Request.Method == http.MethodGet {
		return errors.New("down")
	}
	if resp.Request.Method != http.MethodGet || !strings.Contains(resp.Request.URL.Path, "/blobs/sha256:") {
		return nil
	}
	resp.Body = &spoiled{resp.Body, r}
	return nil
}

// spoiled is a body that breaks off, or is flipped.
type spoiled struct {
	io.ReadCloser
	r *Registry
}

func (s *spoiled) Read(p []byte) (int, error) {
	left := s.r.blobs.Load()
	if left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if left > 0 {
		p = p[:min(int64(len(p)), left)]
	}
	n, err := s.ReadCloser.Read(p)
	if left > 0 {
		s.r.blobs.Add(-int64(n))
	}
	if s.r.flip.Load() && n > 0 {
		p[n-1] ^= 1
	}
	return n, err
}

// Close ends the registry.
func (r *Registry) Close() error {
	var err error
	if r.server != nil {
		err = r.server.Close()
	}
	err = errors.Join(err, r.program.Process.Kill())
	<-r.exited
	return err
}
