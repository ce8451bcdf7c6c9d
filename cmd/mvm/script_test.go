package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/e2e/registry"
	"github.com/mvm-project/mvm/e2e/scriptcmd"
)

// TestMain is the tests, or mvm itself where a script starts it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mvm": main})
}

// TestScripts runs testdata/script: what mvm does without a microVM. Each script
// has a folder of mvm's to itself. UPDATE=1 rewrites what cmp compares with.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("MVM_ROOT", filepath.Join(e.WorkDir, "mvm"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Values[registryKey{}] = new(*registry.Registry)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptcmd.Exits,
			"fails": fails,
			"empty": scriptcmd.Empty,

			"registry":  startRegistry,
			"break":     breakRegistry,
			"flip":      flipRegistry,
			"smalldisk": smallDisk,
		},
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
	})
}

// fails COMMAND... runs a command of mvm's that has to fail as mvm fails: status
// 125 and one line on stderr, besides those that tell of progress.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fails COMMAND...")
	}
	scriptcmd.Exits(ts, false, append([]string{"125"}, args...))
	count := 0
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		if !strings.Contains(line, " done (") {
			count++
		}
		if count == 1 && !strings.HasPrefix(line, "mvm: ") && !strings.Contains(line, " done (") {
			ts.Fatalf("the error is not mvm's: %s", line)
		}
	}
	if count != 1 {
		ts.Fatalf("%d lines of error, not one", count)
	}
}

// registryKey is where a script's registry is among its values.
type registryKey struct{}

// registry [-private] starts a docker-registry for the script; REGISTRY is its
// HOST:PORT.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	private := len(args) == 1 && args[0] == "-private"
	if neg || len(args) > 0 && !private {
		ts.Fatalf("usage: registry [-private]")
	}
	dir := ts.MkAbs("registry")
	ts.Check(os.MkdirAll(dir, 0o755))
	r, err := registry.Start(dir, private)
	ts.Check(err)
	ts.Defer(func() { ts.Check(r.Close()) })
	ts.Setenv("REGISTRY", r.Host)
	ts.Setenv("LOGIN", registry.User+":"+registry.Password)
	*ofScript(ts) = r
}

// ofScript is where a script's registry is.
func ofScript(ts *testscript.TestScript) **registry.Registry {
	return ts.Value(registryKey{}).(**registry.Registry)
}

// break N has the registry go down after N more bytes of layers; break -1 has it
// up again.
func breakRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: break BYTES")
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	(*ofScript(ts)).Break(n)
}

// flip has the registry spoil the layers it sends; ! flip ends that.
func flipRegistry(ts *testscript.TestScript, neg bool, _ []string) {
	(*ofScript(ts)).Flip(!neg)
}

// smalldisk DIR SIZE mounts a tmpfs of that size.
func smallDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: smalldisk DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { ts.Check(unix.Unmount(dir, 0)) })
}
