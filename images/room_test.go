package images

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Large writes stop before they take the last of a disk, small ones do not.
func TestRoom(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	s := &Store{dir: dir}
	large := func() error {
		_, err := io.Copy(io.Discard, s.roomy(io.LimitReader(zeroReader{}, roomGrain+1)))
		return err
	}
	if err := large(); err != nil {
		t.Errorf("40 MiB are free: %v", err)
	}
	if err := os.WriteFile(dir+"/filler", make([]byte, 39<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	err := large()
	wantError(t, err, "the disk is full", "1 MiB are left")
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if _, err := io.Copy(io.Discard, s.roomy(bytes.NewReader(make([]byte, 1<<20)))); err != nil {
		t.Errorf("a small write: %v", err)
	}
}

// zeroReader has no end.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
