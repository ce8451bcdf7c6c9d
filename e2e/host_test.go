package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// essential are the scripts that run on a kvm-pvm host, where a microVM takes
// tens of seconds to boot: a container's whole way; for make soak also what such
// hosts get wrong.
func essential() []string {
	if *faults {
		return []string{"run", "process", "signals", "dependable", "many"}
	}
	return []string{"run"}
}

// TestThisHost runs the scripts on this machine's own KVM.
func TestThisHost(t *testing.T) {
	ctx, host := prepare(t)
	run := "TestScripts"
	if pvm, _ := thisHost(); pvm {
		run += "/^(" + strings.Join(essential(), "|") + ")$"
	}
	here(t, suite(ctx, t, host), "testdata/script", run)
}

// TestFaults runs scripts on a kvm-pvm whose VMM makes the fault that such hosts
// have now and then, beside as many busy processes as there are processors.
func TestFaults(t *testing.T) {
	ctx, host := prepare(t)
	files := suite(ctx, t, host)
	files["mvm-vmm"] = filepath.Join(t.TempDir(), "mvm-vmm")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags=faults", "-o", files["mvm-vmm"], "../cmd/mvm-vmm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	busy, cancel := context.WithCancel(t.Context())
	for range runtime.NumCPU() {
		cmd := exec.CommandContext(busy, "sh", "-c", "while :; do :; done") // killed by cancel
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Wait() }()
	}
	defer cancel()
	here(t, files, "testdata/faults", "TestScripts")
}

// here runs the tests that match run, on the scripts of folder, on this machine:
// in a folder of their own, with a copy of each file.
func here(t *testing.T, files map[string]string, folder, run string) {
	t.Helper()
	dir := t.TempDir()
	for name, path := range files {
		if err := place(filepath.Join(dir, name), path); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "./e2e.test", "-test.v", "-test.parallel=1", "-test.timeout=2h",
		"-test.run="+run, fmt.Sprintf("-rounds=%d", *rounds))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), insideEnv+"="+folder)
	err := cmd.Run()
	report(t, out.String())
	if err != nil {
		t.Errorf("%v; output:\n%s", err, out.String())
	}
}

// place puts a copy of a file, or a link to a folder, at name: a program finds
// what is beside it by its own path.
func place(name, path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		return os.Symlink(abs, name)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o755)
}

// thisHost says what mvm doctor does of this machine: whether it has a kvm-pvm,
// and whether containers run.
func thisHost() (pvm, runs bool) {
	out, err := exec.Command("../bin/mvm", "doctor", "--json").Output()
	var report struct {
		Checks []struct{ Name, Found string }
	}
	if json.Unmarshal(out, &report) != nil {
		return false, false
	}
	pvm = slices.ContainsFunc(report.Checks, func(c struct{ Name, Found string }) bool {
		return c.Name == "kind of KVM" && strings.HasPrefix(c.Found, "kvm-pvm")
	})
	return pvm, err == nil
}

// notForThisHost are the tests that are not asked for, or are for another kind of
// machine than this.
func notForThisHost() []string {
	pvm, runs := thisHost()
	switch {
	case !runs || !*onHost:
		return []string{"TestThisHost$", "TestFaults$"}
	case !pvm || !*faults:
		return []string{"TestFaults$"}
	}
	return nil
}
