// Package scriptcmd has the testscript commands that scripts of several packages
// use, beside those testscript itself has.
package scriptcmd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// Exits runs a command that has to exit with a status: exits STATUS COMMAND...
func Exits(ts *testscript.TestScript, neg bool, args []string) {
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

// Empty checks that each folder has nothing in it, or is not there: empty FOLDER...
func Empty(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		entries, err := os.ReadDir(ts.MkAbs(dir))
		if !errors.Is(err, os.ErrNotExist) {
			ts.Check(err)
		}
		if (len(entries) == 0) == neg {
			ts.Fatalf("%s: %s", dir, fmt.Sprint(entries))
		}
	}
}
