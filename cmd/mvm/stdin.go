package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// stdinFor is what the container gets as stdin: nothing, or mvm's own. A
// terminal may only be read by the process group in its foreground, which is
// mvm's: from it mvm reads itself, into a pipe.
func stdinFor(interactive bool) (*os.File, error) {
	if !interactive {
		return nil, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return os.Stdin, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("stdin: %w", err)
	}
	go func() { // a read of a terminal cannot be ended: it ends with mvm
		_, _ = io.Copy(w, os.Stdin)
		_ = w.Close()
	}()
	return r, nil
}
