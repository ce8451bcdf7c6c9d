package images

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Store is a folder of images; see the package's comment. Its methods may be
// called from several goroutines and processes at once.
type Store struct {
	dir string
	// backoff is the wait before the first retry of a download; it doubles.
	backoff time.Duration
}

// The store's folders and files.
const (
	blobDir    = "blobs/sha256"
	diskDir    = "disks"
	partialDir = "partial"
	tmpDir     = "tmp"
	lockDir    = "locks"
	layoutFile = "oci-layout"
	indexFile  = "index.json"
)

// Names of locks; those of blobs and disks are named after them.
const (
	lockIndex = "index" // held while index.json is replaced
	// lockUse is shared by whoever adds files, and taken alone to collect those
	// that nothing refers to.
	lockUse = "use"
)

// Open opens the store in dir, which is made if it is missing.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{dir: dir, backoff: 500 * time.Millisecond}
	if _, err := os.Stat(s.path(layoutFile)); err == nil {
		return s, nil
	}
	if err := s.make(); err != nil {
		return nil, fmt.Errorf("make image store: %w", err)
	}
	return s, nil
}

// make lays the folders; the layout file comes last and says that all is there.
func (s *Store) make() error {
	for _, d := range []string{blobDir, diskDir, partialDir, tmpDir, lockDir} {
		if err := os.MkdirAll(s.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := syncDir(filepath.Dir(s.path(blobDir))); err != nil {
		return err
	}
	// Another process may have made the store and be collecting in it.
	unlock, err := s.lock(context.Background(), lockUse, true)
	if err != nil {
		return err
	}
	defer unlock()
	return s.replace(layoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// path joins elements below the store's folder.
func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// lock takes the named advisory lock, alone or shared, as soon as it is free.
// The kernel gives it back when the process ends.
func (s *Store) lock(ctx context.Context, name string, shared bool) (unlock func(), err error) {
	l := flock.New(s.path(lockDir, name))
	take := l.TryLockContext
	if shared {
		take = l.TryRLockContext
	}
	// Another process's flock cannot be waited for and cancelled: ask again.
	if _, err := take(ctx, 50*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s: %w", l.Path(), err)
	}
	return func() { _ = l.Unlock() }, nil
}

// create makes a new temporary file.
func (s *Store) create() (*os.File, error) {
	return os.OpenFile(s.path(tmpDir, rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// discard ends a temporary file that was not published; it may be published.
func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// publish gives a complete file its last name, in this order: its content
// reaches the disk, then its name. The file is closed.
func (s *Store) publish(f *os.File, name string) error {
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return explain(err)
	}
	if err := f.Close(); err != nil {
		return explain(err)
	}
	if err := os.Rename(f.Name(), s.path(name)); err != nil {
		return explain(err)
	}
	return syncDir(filepath.Dir(s.path(name)))
}

// replace writes a small file as a whole.
func (s *Store) replace(name string, data []byte) error {
	f, err := s.create()
	if err != nil {
		return explain(err)
	}
	defer discard(f)
	if _, err := f.Write(data); err != nil {
		return explain(err)
	}
	return s.publish(f, name)
}

// syncDir makes the names in a folder survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// explain says what to do about a full disk.
func explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the disk is full: free some space, or remove images: %w", err)
	}
	return err
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (s *Store) blob(h v1.Hash) string { return s.path(blobDir, h.Hex) }
