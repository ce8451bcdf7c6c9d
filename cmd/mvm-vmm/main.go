// Command mvm-vmm is one container's microVM: the VMM, and the host's side of
// the conversation with the guest's PID 1. The mvm command starts it in the
// container's folder and tells it what to do over the connection of
// internal/control; a detached container outlives that command, and others
// connect to it. docs/container.md draws it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/seccomp"
	"github.com/mvm-project/mvm/vmm/memory"
)

// consoleTail is how much of the guest's console is kept for an error, in bytes.
const consoleTail = 4096

func main() {
	memory.SmallPages()
	// The VMM's own heap is small and long-lived: a first collection, at 2 MiB,
	// costs more memory than it frees before that (docs/bench.md).
	debug.SetGCPercent(50)
	// A reader of the container's output that goes away is the container's
	// business (EPIPE closes its stream), not a reason to die.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM)
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "mvm-vmm:", err)
		os.Exit(125)
	}
}

// serve takes one Start, carries it out, and answers with Exit or Failed.
func serve() error {
	conn, err := control.Inherited()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	m, err := conn.Receive()
	if err != nil {
		return err
	}
	if m.Start == nil {
		return fmt.Errorf("control: the first message is no Start")
	}
	v, err := newMachine(conn, *m.Start)
	if err != nil {
		return conn.Send(failed(err))
	}
	ln, err := control.Listen()
	if err != nil {
		return conn.Send(failed(err))
	}
	defer func() { _ = ln.Close() }()
	go v.serve(ln) // ends with the listener
	if m.Start.Attach {
		if err := v.attachStarter(); err != nil {
			return conn.Send(failed(err))
		}
	}
	go v.follow() // ends when the connection does
	if err := seccomp.Apply(seccomp.VMM()); err != nil {
		return conn.Send(failed(err))
	}
	v.supervise()
	_ = conn.Send(v.verdict) // a command that has gone does not listen
	v.farewell()
	return nil
}

// lastWords is how long commands may take to be told of the end.
const lastWords = time.Second

// farewell waits until the commands have been told of the end.
func (v *machine) farewell() {
	told := make(chan struct{})
	go func() { // ends with the process at the latest
		v.commands.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(lastWords):
	}
}

// errDeserted ends a container in the foreground.
var errDeserted = errors.New("the mvm command is gone")

// follow takes what the command that started the container sends. When that is
// gone, a container that was not detached ends.
func (v *machine) follow() {
	for {
		m, err := v.conn.Receive()
		if err != nil {
			v.desert()
			return
		}
		switch {
		case m.Signal != nil:
			v.signal(m.Signal.Signo)
		case m.Resize != nil:
			if s, err := v.running(); err == nil {
				s.resize(firstProcess, *m.Resize)
			}
		case m.Detach != nil:
			v.detach()
		}
	}
}
