package blk_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/blk"
)

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, path, want string }{
		{"directory", dir, "is a directory, not a disk image"},
		{"missing", filepath.Join(dir, "none"), "no such file or directory"},
		{"empty", image(t, nil), "has 0 bytes"},
		{"odd size", image(t, make([]byte, 1000)), "has 1000 bytes, which is not one or more whole sectors of 512"},
		{"FIFO", fifo, "is neither a file nor a block device"},
		{"character device", "/dev/null", "is neither a file nor a block device"},
	} {
		for _, readOnly := range []bool{true, false} {
			f, err := blk.OpenFile(test.path, readOnly)
			if err == nil {
				t.Errorf("%s: opened", test.name)
				_ = f.Close()
				continue
			}
			if got := err.Error(); !strings.HasPrefix(got, "disk "+test.path+": ") || !strings.Contains(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("%s: error %q, want disk %s: ... %q", test.name, got, test.path, test.want)
			}
		}
	}
}

// TestOpenFileNoPermission opens as a user without rights to the file, whoever
// runs the test.
func TestOpenFileNoPermission(t *testing.T) {
	path := image(t, make([]byte, 512))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its user
		_ = unix.Setfsuid(65534)
		_, err := blk.OpenFile(path, false)
		errs <- err
	}()
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "no permission to write it") {
		t.Errorf("error %v", err)
	}
}

// TestOpenFileLocks: one writer, or any number of readers.
func TestOpenFileLocks(t *testing.T) {
	path := image(t, make([]byte, 512))
	open := func(readOnly bool) *blk.File {
		t.Helper()
		f, err := blk.OpenFile(path, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	refused := func(readOnly bool) {
		t.Helper()
		if _, err := blk.OpenFile(path, readOnly); err == nil || !strings.Contains(err.Error(), "is in use by another microVM") {
			t.Errorf("read-only %v: error %v", readOnly, err)
		}
	}
	shut := func(f *blk.File) {
		t.Helper()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	writer := open(false)
	refused(false)
	refused(true)
	shut(writer)
	a, b := open(true), open(true)
	refused(false)
	shut(a)
	refused(false)
	shut(b)
	shut(open(false))
}
