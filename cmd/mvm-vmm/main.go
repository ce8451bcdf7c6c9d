// Command mvm-vmm is one microVM: the VMM, and the host's side of the
// conversation with the guest's PID 1. The mvm command starts it, gives it the
// container's stdin, stdout and stderr, and tells it what to do over the
// connection of internal/control.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/mvm-project/mvm/devices/legacy"
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/vmm"
)

// consoleTail is how much of the guest's console is kept for an error, in bytes.
const consoleTail = 4096

func main() {
	// The VMM's own heap is small and long-lived: collecting it often costs
	// little and keeps the process small (docs/bench.md).
	debug.SetGCPercent(25)
	// A reader of the container's output that goes away is the container's
	// business (EPIPE closes its stream), not a reason to die.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP)
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "mvm-vmm:", err)
		os.Exit(125)
	}
}

// serve takes one Spec, runs it, and answers with Exit or Failed.
func serve() error {
	conn, err := control.Inherited()
	if err != nil {
		return err
	}
	defer conn.Close()
	m, err := conn.Receive()
	if err != nil {
		return err
	}
	if m.Spec == nil {
		return fmt.Errorf("control: the first message is no Spec")
	}
	tail := legacy.NewTail(consoleTail)
	answer := run(conn, *m.Spec, tail)
	if answer.Failed != nil {
		answer.Failed.Console = tail.String()
	}
	return conn.Send(answer)
}

// run boots the VM and carries the container to its end.
func run(conn *control.Conn, spec control.Spec, tail io.Writer) control.Message {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	console := tail
	if spec.Console {
		console = io.MultiWriter(tail, os.Stderr)
	}
	s, err := newSession(spec)
	if err != nil {
		return failed(err)
	}
	defer s.close()
	vm, err := vmm.New(spec.VM, console)
	if err != nil {
		return failed(err)
	}
	defer vm.Close()

	ended := make(chan error, 1)
	var vcpus sync.WaitGroup
	vcpus.Go(func() { ended <- vm.Run(ctx) }) // ends with the VM, at the latest by cancel
	defer vcpus.Wait()                        // before vm.Close
	defer cancel(nil)
	go follow(conn, s, cancel) // ends when the connection does
	exit, err := s.converse(ctx, ended, func(st proto.Started) {
		_ = conn.Send(control.Message{Started: &st}) // a lost mvm is noticed by follow
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return failed(err)
	}
	return control.Message{Exit: &exit}
}

// follow passes the signals that mvm sends on to the container, and cancels the
// VM when mvm is gone.
func follow(conn *control.Conn, s *session, cancel context.CancelCauseFunc) {
	for {
		m, err := conn.Receive()
		if err != nil {
			cancel(fmt.Errorf("the mvm command is gone: %w", err))
			return
		}
		if m.Signal != nil {
			s.signal(*m.Signal)
		}
	}
}

func failed(err error) control.Message {
	return control.Message{Failed: &control.Failed{Error: err.Error()}}
}
