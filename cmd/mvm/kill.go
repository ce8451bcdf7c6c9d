package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) killCommand() *cobra.Command {
	var signal string
	cmd := a.eachCommand("kill [OPTIONS]", "Send a signal to containers",
		"  mvm kill web\n  mvm kill -s HUP web", a.completeUp, func(ctx context.Context, c *container.Container) error {
			sig, err := parseSignal(signal)
			if err != nil {
				return err
			}
			if sig == 0 {
				return errors.New("--signal: which?")
			}
			return c.Signal(ctx, sig)
		})
	cmd.Flags().StringVarP(&signal, "signal", "s", "KILL", "the `SIGNAL`, by name or number")
	return cmd
}

// Real-time signals, as libc counts them: it has the two below for itself.
const (
	minRealTime = 34 // SIGRTMIN
	maxSignal   = 64 // SIGRTMAX
)

// parseSignal reads a signal as docker does: "SIGTERM", "term", "15" or "RTMIN+3"; 0
// for none.
func parseSignal(s string) (syscall.Signal, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > maxSignal {
			return 0, fmt.Errorf("there is no signal %d: want 1 to %d", n, maxSignal)
		}
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	sig := unix.SignalNum(name)
	if sig == 0 {
		sig = realTime(name)
	}
	if sig == 0 {
		return 0, fmt.Errorf("there is no signal %q: want a name such as TERM or a number, see kill -l", s)
	}
	return sig, nil
}

// realTime is the real-time signal of a name: SIGRTMIN, SIGRTMIN+N, SIGRTMAX-N or
// SIGRTMAX; 0 for none.
func realTime(name string) syscall.Signal {
	for n := minRealTime; n <= maxSignal; n++ {
		up, down := fmt.Sprintf("SIGRTMIN+%d", n-minRealTime), fmt.Sprintf("SIGRTMAX-%d", maxSignal-n)
		if name == up || name == down || name+"+0" == up || name+"-0" == down {
			return syscall.Signal(n)
		}
	}
	return 0
}

// signalName is a signal's name, or else its number.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return strconv.Itoa(int(sig))
}
