// Package e2e drives the built binaries against real microVMs. The suite takes
// its KVM host from outside: it always runs on the virtual KVM host, and on this
// machine's own /dev/kvm where mvm runs there.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mvm-project/mvm/e2e/vhost"
)

// suiteTimeout bounds a run of all scripts on an emulated host.
const suiteTimeout = 40 * time.Minute

// TestVirtualHost runs the suite on the virtual KVM host.
func TestVirtualHost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), suiteTimeout)
	defer cancel()
	cache, err := vhost.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	host, err := vhost.Prepare(ctx, cache)
	if err != nil {
		t.Fatal(err)
	}
	files := binaries(t)
	files["e2e.test"] = compile(ctx, t)
	files["testdata"] = "testdata"
	files["images"] = images(ctx, t)
	var out bytes.Buffer
	status, err := host.Run(ctx, vhost.Job{
		Files:  files,
		Script: insideEnv + "=1 exec ./e2e.test -test.v -test.parallel=1 2>&1",
		Stdout: &out,
	})
	report(t, out.String())
	if err != nil || status != 0 {
		t.Errorf("status %d, %v; output:\n%s", status, err, out.String())
	}
}

// binaries are mvm's, which make build leaves in bin/.
func binaries(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"mvm", "mvm-vmm"} {
		path := filepath.Join("..", "bin", name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s is missing: run make build", path)
		}
		files[name] = path
	}
	return files
}

// compile builds this test binary without cgo, to run on a host without libc.
func compile(ctx context.Context, t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "e2e.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the suite: %v\n%s", err, out)
	}
	return path
}

// verdict is a line with which go test ends a test.
var verdict = regexp.MustCompile(`^ *--- (PASS|FAIL): (\S+) `)

// report makes each of the suite's tests a subtest of t. A suite that ran none
// has failed.
func report(t *testing.T, out string) {
	t.Helper()
	passed := 0
	for line := range strings.Lines(out) {
		m := verdict.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		t.Run(m[2], func(t *testing.T) {
			if m[1] == "FAIL" {
				t.Error("failed on the virtual host: its output is below")
			}
		})
		passed++
	}
	if passed < 2 {
		t.Errorf("the suite ran %d tests on the virtual host", passed)
	}
}
