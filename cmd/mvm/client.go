package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
)

// clientFlags say how a command is connected with a process.
type clientFlags struct {
	interactive, tty bool
	detachKeys       string
}

// errNoTerminal is docker's complaint.
var errNoTerminal = errors.New("the input device is not a terminal: leave out -t, or run mvm on one")

// connect calls talk with mvm's own streams, which are a terminal in raw mode if
// the process has one.
func (f clientFlags) connect(signals <-chan os.Signal, talk func(container.Client) (control.Exit, error)) error {
	client := container.Client{Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals}
	if f.interactive {
		client.Stdin = os.Stdin
	}
	if !f.tty {
		return ended(talk(client))
	}
	keys, err := parseKeys(f.detachKeys)
	if err != nil {
		return fmt.Errorf("--detach-keys: %w", err)
	}
	if f.interactive && !term.IsTerminal(int(os.Stdin.Fd())) {
		return errNoTerminal
	}
	if f.interactive {
		t, err := openTerminal()
		if err != nil {
			return err
		}
		defer t.restore()
		client.Stdin, client.Resizes = &detachReader{r: os.Stdin, keys: keys}, t.resizes
	}
	exit, err := talk(client)
	if errors.Is(err, container.ErrDetached) {
		return nil
	}
	return ended(exit, err)
}

// clientSignals are those that go to the process from here on.
func clientSignals() chan os.Signal {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	return signals
}
