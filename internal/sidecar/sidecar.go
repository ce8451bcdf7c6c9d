// Package sidecar is what the programs have in common that work beside a container's
// mvm-vmm: mvm-netd and mvm-fsd. mvm starts them, and each ends when mvm-vmm does:
// when the other end of its link is closed.
package sidecar

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/seccomp"
)

// File descriptors of a sidecar besides the standard ones; what it is to be comes on
// stdin.
const (
	Link  = 3 // mvm-vmm has the other end
	Ready = 4 // where it says its Word, and whose end is that of the process
	Lock  = 5 // the container's
	More  = 6 // this one and those that follow: what it has besides
)

// Word is a sidecar's one word, as JSON: that it serves, or why not.
type Word struct {
	Error string `json:",omitempty"`
}

// StatusFailed is mvm's exit status for its own failures.
const StatusFailed = 125

// Main is the life of the sidecar of that name. open makes it ready, with no more
// rights than it needs; serve, which ends when the link does, has no other system
// calls than the filter leaves it.
func Main(name string, filter []unix.SockFilter, open func() (serve func() error, err error)) {
	debug.SetGCPercent(50) // it carries data, and keeps little
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGPIPE)
	if err := run(filter, open); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(StatusFailed)
	}
}

func run(filter []unix.SockFilter, open func() (serve func() error, err error)) error {
	syscall.CloseOnExec(Link)
	syscall.CloseOnExec(Ready)
	ready := os.NewFile(Ready, "ready")
	serve, why := open()
	if why == nil {
		why = seccomp.Apply(filter)
	}
	w := Word{}
	if why != nil {
		w.Error = why.Error()
	}
	if err := json.NewEncoder(ready).Encode(w); err != nil {
		return fmt.Errorf("tell mvm-vmm (mvm starts it): %w", err)
	}
	if why != nil {
		os.Exit(StatusFailed) // mvm says why
	}
	err := serve()           // what is left ends with the process
	runtime.KeepAlive(ready) // mvm-vmm takes its end for that of the process
	return err
}
