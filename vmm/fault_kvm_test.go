//go:build kvm

package vmm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestNewFails makes each system call of New fail in turn: New says so, and leaves
// no descriptor, mapping, file or goroutine.
func TestNewFails(t *testing.T) {
	// The supervisor needs a processor while the filtered thread is stopped in a
	// call, and nobody may stop the world then.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	cfg := fullConfig(t)
	dir := filepath.Dir(cfg.Vsock)
	failing(t, cfg, 0) // what Go reads once, it has read
	before, n := held(t, dir), 1
	for ; ; n++ {
		s := failing(t, cfg, n)
		if len(s.calls) < n {
			break // New makes no more
		}
		if diff := cmp.Diff(before, held(t, dir)); diff != "" {
			t.Fatalf("call %d, number %d, failed, and this was left behind:\n%s", n, s.calls[n-1], diff)
		}
	}
	t.Logf("%d calls failed in turn", n-1)
	if n < 40 {
		t.Error("the filter misses most calls")
	}
	if err := goleak.Find(); err != nil {
		t.Error(err)
	}
}

// failing is New whose nth call fails, if it makes so many; n is 0 for none. It
// checks what New returns.
func failing(t *testing.T, cfg Config, n int) *faulty {
	t.Helper()
	s := &faulty{fail: n, err: unix.EIO}
	var newErr, closeErr error
	if err := s.run(func() {
		var v *VM
		if v, newErr = New(cfg, io.Discard); newErr == nil {
			closeErr = v.Close()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if failed := n > 0 && len(s.calls) >= n; errors.Is(newErr, unix.EIO) != failed || closeErr != nil {
		t.Errorf("call %d of %v failed: %v, close: %v", n, s.calls, newErr, closeErr)
	}
	return s
}

// fullConfig is a microVM that has everything.
func fullConfig(t *testing.T) Config {
	t.Helper()
	cfg := guest(t, halt)
	dir := t.TempDir()
	cfg.Initrd, cfg.Vsock = filepath.Join(dir, "initrd"), filepath.Join(dir, "vsock")
	cfg.VCPUs = 2
	for i, path := range []string{"ro", "rw", "initrd"} {
		path = filepath.Join(dir, path)
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			cfg.Disks = append(cfg.Disks, Disk{Path: path, ReadOnly: i == 0})
		}
	}
	return cfg
}

// held is what this process holds of the things that a VM is made of, and what
// lies in dir.
func held(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil { // else it was ReadDir's own
			all = append(all, "fd "+target)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, "file "+e.Name())
	}
	slices.Sort(all)
	return append(all, mappings(t)...)
}

// mappings are those that are kept out of core dumps, as guest memory is, and
// those of KVM: the Go runtime's own come and go.
func mappings(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	var name string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && strings.Contains(flags, " dd ") || strings.Contains(line, "kvm") {
			found = append(found, "mapping "+name)
		}
		if !strings.HasSuffix(f[0], ":") {
			name = fmt.Sprint(f[1], f[5:])
		}
	}
	return found
}

// TestRunLeavesNothing: threads, descriptors and mappings are given back by Run
// and Close, time after time.
func TestRunLeavesNothing(t *testing.T) {
	cfg := fullConfig(t)
	dir := filepath.Dir(cfg.Vsock)
	kernel := guest(t, code(resetGuest, spin))
	cfg.Kernel = kernel.Kernel
	once := func() {
		v, err := New(cfg, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(ignore(v.Run(t.Context()), ErrReset), v.Close(), v.Close()); err != nil {
			t.Fatal(err)
		}
	}
	once()
	before, threads := held(t, dir), count(t, "/proc/self/task")
	for range 20 {
		once()
	}
	if diff := cmp.Diff(before, held(t, dir)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
	// The runtime keeps a few idle threads; 20 VMs of 2 vCPUs would leave 40.
	if now := count(t, "/proc/self/task"); now > threads+10 {
		t.Errorf("%d threads, %d before", now, threads)
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return fmt.Errorf("%w, not %w", err, expected)
}

func count(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
