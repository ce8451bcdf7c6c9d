package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mvm-project/mvm/e2e/scriptcmd"
)

// insideEnv tells this test binary that it is on the KVM host the tests are for,
// and the folder of the scripts to run there.
const insideEnv = "MVM_E2E_INSIDE"

// inside says whether this process is on the KVM host under test.
func inside() bool { return os.Getenv(insideEnv) != "" }

// rounds is how often a script repeats what may go wrong once in many times.
var rounds = flag.Int("rounds", 20, "rounds of the scripts that look for rare faults")

// bulk is how much the script of that name sends each way.
var bulk = flag.Int("bulk", 64, "MiB that the script bulk sends each way")

// execs is how many commands the script of that name runs in a container at once.
var execs = flag.Int("execs", 60, "commands that the script execs runs at once")

// onHost asks for the tests that run on this machine's own KVM.
var onHost = flag.Bool("host", false, "run on this machine's own KVM too, if mvm runs on it")

// faults asks for what takes an hour on a kvm-pvm host: make soak.
var faults = flag.Bool("faults", false, "on a kvm-pvm host: more scripts, and the faults it has now and then")

// TestMain leaves out what is for the other side: on the KVM host the scripts
// run, elsewhere the tests that take them there; and what is for another kind of
// machine.
func TestMain(m *testing.M) {
	flag.Parse()
	others := []string{"TestScripts$"}
	if inside() {
		others = []string{"TestVirtualHost", "TestGuest$", "TestThisHost$", "TestFaults$"}
	} else {
		others = append(others, notForThisHost()...)
	}
	if err := flag.Set("test.skip", "^("+strings.Join(others, "|")+")"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// TestScripts runs a folder of scripts against the mvm beside this binary. All
// share one folder of mvm's, as a user's commands do.
func TestScripts(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	testscript.Run(t, testscript.Params{
		Dir: os.Getenv(insideEnv),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", here+":"+e.Getenv("PATH"))
			e.Setenv("MVM_ROOT", root)
			e.Setenv("IMAGES", filepath.Join(here, "images"))
			e.Setenv("HERE", here)
			e.Setenv("MVM_KERNEL_ARGS", os.Getenv("MVM_KERNEL_ARGS"))
			e.Setenv("LD_LIBRARY_PATH", os.Getenv("LD_LIBRARY_PATH")) // of programs that came along
			e.Setenv("ROUNDS", strconv.Itoa(*rounds))
			e.Setenv("BULK", strconv.Itoa(*bulk))
			e.Setenv("EXECS", strconv.Itoa(*execs))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  scriptcmd.Exits,
			"random": random,
			"empty":  scriptcmd.Empty,
			"idle":   idle,
			"tty":    tty,
			"fetch":  fetchPage,
			"ask":    askUDP,
			"tables": filterTables,
		},
		RequireUniqueNames: true,
	})
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

// idle FOLDER checks that no process works in FOLDER or below it.
func idle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: idle FOLDER")
	}
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	ts.Check(err)
	for _, l := range links {
		// Processes come and go, and some are another user's.
		if dir, err := os.Readlink(l); err == nil && strings.HasPrefix(dir, ts.MkAbs(args[0])) {
			ts.Fatalf("%s is %s", l, dir)
		}
	}
}
