// Package vhost is a virtual KVM host: a machine with SVM and nested paging that
// QEMU emulates, running Debian's kernel with kvm-amd. It stands for ordinary KVM
// hardware where there is none, and gives every test a clean machine. It is
// booted once, kept as a snapshot, and restored in a quarter of a second.
//
//	machine running the tests            virtual KVM host (QEMU, TCG)
//	  Host.Run(Job)
//	    tar of the job's files  -------> /dev/vda, unpacked to /job
//	    stdout, stderr  <--- pipes ----- virtio-serial ports "out", "err"
//	    status          <--- pipe ------ port "rc"
//	    QMP: restore, continue
//	    "go"            -------------->  port "ctl": the snapshot waits there
//
// docs/testing.md tells how it is built and which faults of QEMU it lives with.
package vhost

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// Host is a virtual KVM host, prepared and ready to run jobs. Jobs may run at
// the same time: each has a machine of its own.
type Host struct {
	kernel, initramfs string
	snapshot          string // folder of the RAM and the state
	tscKHz            int
}

// Kernel is the path of the host's own kernel, the bzImage of Debian's cloud
// kernel package.
func (h *Host) Kernel() string { return h.kernel }

// memoryMiB is the machine's memory. What is not touched takes no space.
const memoryMiB = 3072

//go:embed init.sh
var initScript []byte

// Prepare makes the host, or takes it from cache, a folder kept between runs.
func Prepare(ctx context.Context, cache string) (*Host, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(cache, "lock"))
	if err := lock.Lock(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", cache, err)
	}
	defer lock.Unlock()
	khz, err := tscKHz()
	if err != nil {
		return nil, err
	}
	pkg, err := kernelPackage(ctx)
	if err != nil {
		return nil, err
	}
	key, err := cacheKey(ctx, pkg, khz)
	if err != nil {
		return nil, err
	}
	h := at(filepath.Join(cache, key), khz)
	if _, err := os.Stat(h.snapshot); err == nil {
		return h, nil
	}
	return h, h.make(ctx, cache, pkg)
}

// at is the host that is, or is to be, in dir.
func at(dir string, khz int) *Host {
	return &Host{
		kernel:    filepath.Join(dir, "vmlinuz"),
		initramfs: filepath.Join(dir, "initramfs.cpio"),
		snapshot:  filepath.Join(dir, "snapshot"),
		tscKHz:    khz,
	}
}

// make builds the host in a folder of its own, which then takes h's place whole.
func (h *Host) make(ctx context.Context, cache, pkg string) error {
	tmp, err := os.MkdirTemp(cache, "new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintln(os.Stderr, "vhost: preparing the virtual KVM host with", pkg)
	root := filepath.Join(tmp, "package")
	if err := unpackKernel(ctx, pkg, root); err != nil {
		return err
	}
	n := at(tmp, h.tscKHz)
	if err := buildInitramfs(ctx, root, n.initramfs); err != nil {
		return fmt.Errorf("the virtual host's initramfs: %w", err)
	}
	vmlinuz, err := one(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return err
	}
	if err := os.Rename(vmlinuz, n.kernel); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := n.makeSnapshot(ctx); err != nil {
		return fmt.Errorf("the virtual host's snapshot: %w", err)
	}
	return os.Rename(tmp, filepath.Dir(h.kernel))
}

// one is the only file that a pattern matches.
func one(pattern string) (string, error) {
	m, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(m) != 1 {
		return "", fmt.Errorf("%s: %d files, 1 expected", pattern, len(m))
	}
	return m[0], nil
}

// cacheKey is the digest of all that a snapshot depends on: one taken on another
// processor model or with another QEMU cannot be restored.
func cacheKey(ctx context.Context, pkg string, khz int) (string, error) {
	qemu, err := output(ctx, qemuProgram, "--version")
	if err != nil {
		return "", err
	}
	cpu, err := cpuModel()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, pkg, qemu, cpu, khz, earlyModules, lateModules, onDemandModules, programs)
	fmt.Fprintln(sum, at("", khz).arguments(true, "", ""))
	sum.Write(initScript)
	return fmt.Sprintf("%x", sum.Sum(nil))[:32], nil
}

// output runs a program and returns what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is missing: make test installs it (%w)", name, err)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// CacheDir is where hosts are kept between runs: below MVM_CACHE, or the user's
// cache folder.
func CacheDir() (string, error) {
	dir := os.Getenv("MVM_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("where to keep the virtual host (set MVM_CACHE): %w", err)
		}
		dir = filepath.Join(user, "mvm")
	}
	return filepath.Join(dir, "vhost"), nil
}
