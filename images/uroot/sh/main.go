// Command sh is the shell of the u-root image: mvdan.cc/sh, a POSIX shell with
// much of bash, behind sh's command line. u-root's own shell, gosh, is the same
// library, but answers only to its own name and links a line editor.
//
//	sh [-eux] [-c COMMAND [NAME [ARG...]] | FILE [ARG...]]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// exitUsage is the status of a command line or a script that cannot be read.
const exitUsage = 2

func main() {
	err := run(os.Args[1:])
	var status interp.ExitStatus
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case err != nil:
		fmt.Fprintln(os.Stderr, "sh:", err)
		os.Exit(exitUsage)
	}
}

func run(args []string) error {
	var options []string
	command := false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		flag := args[0]
		args = args[1:]
		if strings.Contains(flag, "c") {
			command = true
			flag = strings.ReplaceAll(flag, "c", "")
		}
		if flag != "-" {
			options = append(options, flag)
		}
	}
	var script io.Reader = os.Stdin
	name := "sh"
	switch {
	case command && len(args) == 0:
		return errors.New("-c: a command is needed")
	case command:
		script, args = strings.NewReader(args[0]), args[1:]
		if len(args) > 0 {
			name, args = args[0], args[1:]
		}
	case len(args) > 0:
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		script, name, args = f, args[0], args[1:]
	}
	return interpret(script, name, append(append(options, "--"), args...))
}

// interpret runs a script as it is read, so that what it leaves of its standard
// input is its commands' to read.
func interpret(script io.Reader, name string, params []string) error {
	runner, err := interp.New(interp.StdIO(os.Stdin, os.Stdout, os.Stderr), interp.Params(params...))
	if err != nil {
		return err
	}
	ctx := context.Background()
	var last error
	for stmt, err := range syntax.NewParser().StmtsSeq(script) {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		last = runner.Run(ctx, stmt)
		if runner.Exited() {
			break
		}
		var status interp.ExitStatus
		if last != nil && !errors.As(last, &status) {
			return last
		}
	}
	return last
}
