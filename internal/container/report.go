package container

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unicode"

	"github.com/mvm-project/mvm/internal/control"
)

// maxLine bounds a line that the guest had its hand in, in bytes.
const maxLine = 1000

// checked is what a guest reports, fit to be acted upon and printed.
func checked(e control.Exit) control.Exit {
	if e.Code < 0 || e.Code > 255 {
		return control.Exit{Code: codeFailed, Error: fmt.Sprintf("the guest reported the exit status %d, which there is not", e.Code)}
	}
	e.Error = printable(e.Error)
	return e
}

// failure explains the end of a microVM, with the last lines of its console.
func failure(f control.Failed) error {
	text := printable(f.Error)
	var lines []string
	for line := range strings.Lines(f.Console) {
		if line = strings.TrimRight(printable(line), " "); line != "" {
			lines = append(lines, "  "+line)
		}
	}
	if len(lines) > 0 {
		text += "\nThe guest's console ends with:\n" + strings.Join(lines, "\n")
	}
	return errors.New(text)
}

// printable is a guest's text as one line that does nothing to a terminal.
func printable(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "..."
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// explainDeath says how mvm-vmm ended that did not say why.
func explainDeath(pid int, state *os.ProcessState) error {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		why := "see dmesg or the journal for why"
		if w.Signal() == syscall.SIGKILL {
			why = "by hand, or by the host for want of memory (dmesg tells): give it less with --memory"
		}
		return fmt.Errorf("the microVM is gone: its process mvm-vmm (%d) was killed by signal %d (%v): %s", pid, int(w.Signal()), w.Signal(), why)
	}
	return fmt.Errorf("the microVM is gone: its process mvm-vmm (%d) ended with %v and without a word: see what it printed", pid, state)
}
