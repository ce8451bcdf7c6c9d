// Command mvm runs container images in microVMs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
)

// Exit statuses of the command's own (docs/cli.md).
const (
	statusFailed      = 125
	statusInterrupted = 130
	statusKilled      = 137 // 128+SIGKILL
)

// exitStatus is an error that has been reported, or that needs no words: the
// status of a container's process.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// exitError is an error with a status of its own.
type exitError struct {
	text string
	exitStatus
}

func (e exitError) Error() string { return e.text }

func main() {
	os.Exit(status(newRoot().ExecuteContext(context.Background())))
}

// status reports an error and turns it into the command's exit status.
func status(err error) int {
	var code exitStatus
	var withText exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &withText):
		fmt.Fprintln(os.Stderr, "mvm:", printable(err.Error()))
		return int(withText.exitStatus)
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "mvm: interrupted")
		return statusInterrupted
	}
	for line := range strings.Lines(err.Error()) { // of several errors, one each
		fmt.Fprintln(os.Stderr, "mvm:", printable(strings.TrimSuffix(line, "\n")))
	}
	return statusFailed
}

// printable quotes what would move a terminal's cursor or worse: errors hold the
// words of registries, images and guests.
func printable(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
