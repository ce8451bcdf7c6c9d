// Package e2e drives the built binaries against real microVMs. The suite takes
// its KVM host from outside: it always runs on the virtual KVM host, and on this
// machine's own /dev/kvm where mvm runs there.
//
//	go test ./e2e
//	 | TestVirtualHost  all scripts, in QEMU      \
//	 | TestThisHost     on this machine's KVM      > this binary again, TestScripts
//	 | TestFaults       on a kvm-pvm, with faults /
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mvm-project/mvm/e2e/vhost"
)

// suiteTimeout bounds all the jobs of a test on an emulated host, scriptTimeout
// one script's that is given no more than usual.
const (
	suiteTimeout  = 60 * time.Minute
	scriptTimeout = 15 * time.Minute
)

// unitTime is what each MiB of -bulk, and each of -execs, adds to the time of a script.
const unitTime = time.Second

// TestVirtualHost runs each script on a virtual KVM host of its own, as many at a
// time as there are processors.
func TestVirtualHost(t *testing.T) {
	ctx, host := prepare(t)
	files := suite(ctx, t, host)
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("testdata/script: %d scripts, %v", len(scripts), err)
	}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(ctx, scriptTimeout+time.Duration(*bulk+*execs)*unitTime)
			defer cancel()
			runThere(ctx, t, host, vhost.Job{
				Files:    needed(t, files, script),
				Programs: programsFor(t, script),
				Script: fmt.Sprintf("%s=testdata/script exec ./e2e.test -test.v -test.timeout 0 -test.run '^TestScripts$/^%s$' -rounds %d -bulk %d -execs %d 2>&1",
					insideEnv, name, *rounds, *bulk, *execs),
			})
		})
	}
}

// needed are those of the suite's files that a script needs: of what is large,
// what it names.
func needed(t *testing.T, files map[string]string, script string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	images, err := os.ReadDir(files["images"])
	if err != nil {
		t.Fatal(err)
	}
	job := map[string]string{script: script}
	for _, image := range images {
		if name := image.Name(); strings.Contains(string(text), "$IMAGES/"+name) {
			job["images/"+name] = filepath.Join(files["images"], name)
		}
	}
	for name, path := range files {
		if strings.HasPrefix(name, "mvm") || name == "e2e.test" || strings.Contains(string(text), "$HERE/"+name) {
			job[name] = path
		}
	}
	return job
}

// programsFor are the programs of this machine that a script runs there.
func programsFor(t *testing.T, script string) []string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for call, program := range map[string]string{
		"tmux -":         "tmux",
		"\nexec git ":    "git",
		"\nexec sqlite3": "sqlite3",
		"\nexec psql ":   postgresPrograms + "/psql",
	} {
		if !bytes.Contains(text, []byte(call)) {
			continue
		}
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatalf("%v: make test installs it", err)
		}
		paths = append(paths, path)
	}
	return paths
}

// suite is what the scripts need, by the name it has beside them.
func suite(ctx context.Context, t *testing.T, host *vhost.Host) map[string]string {
	t.Helper()
	files := binaries(t)
	files["e2e.test"] = compile(ctx, t, ".")
	files["testdata"] = "testdata"
	files["images"] = images(ctx, t)
	files["gocache"] = golangCache(ctx, t)
	files["vmlinuz-debian"] = host.Kernel()
	files["C.utf8"] = "/usr/lib/locale/C.utf8" // for tmux
	return files
}

// kvmTag is the build tag of files whose tests need a KVM host.
const kvmTag = "kvm"

// TestVirtualHostPackages runs each package's tests that need a KVM host on the
// virtual one: those in files named *_kvm_test.go, behind the tag kvm.
func TestVirtualHostPackages(t *testing.T) {
	ctx, host := prepare(t)
	list := goOutput(ctx, t, "list", "-tags", kvmTag, "-f",
		`{{$p := .}}{{range .TestGoFiles}}{{$p.Dir}} {{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.Dir}} {{.}}{{"\n"}}{{end}}`, "../...")
	var dirs []string
	for line := range strings.Lines(list) {
		dir, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasSuffix(name, "_kvm_test.go") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) < 2 {
		t.Errorf("%d packages have tests for KVM hosts: vmm and vmm/kvm do", len(dirs))
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			files := map[string]string{"package.test": compile(ctx, t, dir)}
			if data := filepath.Join(dir, "testdata"); exists(data) {
				files["testdata"] = data
			}
			runThere(ctx, t, host, vhost.Job{Files: files, Script: "exec ./package.test -test.v 2>&1"})
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// prepare gives the virtual KVM host, and the time that a test on it has.
func prepare(t *testing.T) (context.Context, *vhost.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), suiteTimeout)
	t.Cleanup(cancel)
	cache, err := vhost.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	host, err := vhost.Prepare(ctx, cache)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, host
}

// runThere runs a job that prints what go test -v does, and makes each test of
// its a subtest of t.
func runThere(ctx context.Context, t *testing.T, host *vhost.Host, job vhost.Job) {
	t.Helper()
	var out bytes.Buffer
	job.Stdout = &out
	status, err := host.Run(ctx, job)
	report(t, out.String())
	if err != nil || status != 0 {
		t.Errorf("status %d, %v; output:\n%s", status, err, out.String())
	}
}

// binaries are mvm's, which make build leaves in bin/.
func binaries(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"mvm", "mvm-vmm", "mvm-netd", "mvm-fsd"} {
		path := filepath.Join("..", "bin", name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s is missing: run make build", path)
		}
		files[name] = path
	}
	return files
}

// compile builds the test binary of the package in dir without cgo, to run on a
// host without libc.
func compile(ctx context.Context, t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "package.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", kvmTag, "-o", path, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the tests in %s: %v\n%s", dir, err, out)
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
