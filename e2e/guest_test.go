package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvm-project/mvm/e2e/vhost"
)

// runEnv chooses among the tests on the host, as go test's -run does.
const runEnv = "MVM_E2E_RUN"

// TestGuest runs package guest's tests, of guestinit in microVMs, on the virtual
// KVM host.
func TestGuest(t *testing.T) {
	ctx, host := prepare(t)
	runThere(ctx, t, host, vhost.Job{
		Files: map[string]string{
			"guest.test":     compile(ctx, t, "guest"),
			"image.ext4":     guestDisk(ctx, t),
			"vmlinux":        "../kernel/assets/kvm/vmlinux",
			"initramfs.cpio": "../guestinit/initramfs/assets/initramfs.cpio",
		},
		Script: insideEnv + "=1 exec ./guest.test -test.v -test.run '" + os.Getenv(runEnv) + "' 2>&1",
	})
}

// programs compiles testdata/programs: name -> path.
func programs(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	sources, err := filepath.Glob("testdata/programs/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("testdata/programs: %d files, %v", len(sources), err)
	}
	dir, compiled := t.TempDir(), map[string]string{}
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".c")
		compiled[name] = filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o", compiled[name], source)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc %s: %v\n%s", source, err, out)
		}
	}
	return compiled
}

// guestDisk is an ext4 image of the busybox layer.
func guestDisk(ctx context.Context, t *testing.T) string {
	t.Helper()
	root, disk := t.TempDir(), filepath.Join(t.TempDir(), "image.ext4")
	tarball := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(tarball, busyboxLayer(ctx, t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"tar", "-C", root, "-x", "-f", tarball},
		{"/sbin/mke2fs", "-q", "-t", "ext4", "-d", root, disk, "32M"},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, bytes.TrimSpace(out))
		}
	}
	return disk
}
