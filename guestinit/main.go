// Command guestinit is PID 1 of the microVM. It asks the host over vsock what to
// do, runs containers' processes in namespaces of their own, carries their
// streams, reaps every orphan, and reports how each process ended.
// docs/guestinit.md draws how it works, docs/protocol.md what it says.
//
// The same program, started by itself, is the first stage of a container's
// process, and a container's init: package stage.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/stage"
	"github.com/mvm-project/mvm/guestinit/proto"
)

func main() {
	// A few hundred kilobytes of garbage in a life are not worth a collector, up
	// to a bound that a long stream of messages would reach.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case stage.Name:
			stage.Main()
		case stage.InitName:
			stage.Init(os.Args[2:])
		}
	}
	if err := boot(); err != nil {
		die(err)
	}
	reset()
}

// boot is the machine's whole life: it returns when the host is done with it.
func boot() error {
	if err := mountEarly(); err != nil {
		return err
	}
	control, err := dial(proto.Message{Hello: &proto.Hello{Version: proto.Version}})
	if err != nil {
		return err
	}
	s := newSession(control, dial, "/init")
	go s.reaper.Run() // as long as the machine
	return s.serve()
}

// dial opens a connection to the host and says what it is for.
func dial(m proto.Message) (conn, error) {
	c, err := vsock.Dial(vsock.Host, proto.Port, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the host over vsock (the kernel needs virtio-mmio and vsock built in): %w", err)
	}
	if err := proto.WriteMessage(c, m); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet the host: %w", err)
	}
	return c, nil
}

// die leaves a last line on the console, at the level of an alert so that it is
// seen on a quiet one, and resets the machine.
func die(err error) {
	if f, e := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); e == nil {
		fmt.Fprintf(f, "<1>guestinit: %v\n", err)
	}
	reset()
}

// reset ends the machine. PID 1 must not return.
func reset() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.Exit(1) // the kernel panics, and resets for that
}
