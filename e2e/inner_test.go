package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// insideEnv tells this test binary that it is on the KVM host the tests are for.
const insideEnv = "MVM_E2E_INSIDE"

// inside says whether this process is on the KVM host under test.
func inside() bool { return os.Getenv(insideEnv) != "" }

// TestMain leaves out what is for the other side: on the KVM host the scripts
// run, elsewhere the test that takes them there.
func TestMain(m *testing.M) {
	flag.Parse()
	others := "^TestScripts$"
	if inside() {
		others = "^TestVirtualHost$"
	}
	if err := flag.Set("test.skip", others); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// TestScripts runs testdata/script against the mvm beside this binary. All share
// one folder of mvm's, as a user's commands do.
func TestScripts(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", here+":"+e.Getenv("PATH"))
			e.Setenv("MVM_ROOT", root)
			e.Setenv("IMAGES", filepath.Join(here, "images"))
			e.Setenv("HERE", here)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"random": random,
			"empty":  isEmpty,
		},
		RequireUniqueNames: true,
	})
}

// exits N COMMAND... runs a command that has to exit with status N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, not %d", got, want)
	}
}

// random FILE SIZE writes SIZE bytes of a fixed random sequence to FILE.
func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random FILE SIZE")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, size)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// empty FOLDER... checks that each folder has nothing in it.
func isEmpty(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		entries, err := os.ReadDir(ts.MkAbs(dir))
		ts.Check(err)
		if (len(entries) == 0) == neg {
			ts.Fatalf("%s: %s", dir, fmt.Sprint(entries))
		}
	}
}
