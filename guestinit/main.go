// Command guestinit is PID 1 of the microVM. It prepares the machine, asks the
// host over vsock what to run, starts the container's process in namespaces of
// its own, carries its standard streams, reaps every orphan, and reports how the
// process ended. docs/guestinit.md draws the sequence.
//
// The same program, started by itself as "/init container", is the first stage
// of the container's process: see container.go.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

func main() {
	// A few hundred kilobytes of garbage in a life are not worth a collector, up
	// to a bound that a long stream of messages would reach.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	if len(os.Args) > 1 && os.Args[1] == stageName {
		stage()
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
	return (&session{control: control, dial: dial, exe: "/init"}).serve()
}

// dial opens a connection to the host and says what it is for.
func dial(m proto.Message) (conn, error) {
	c, err := vsock.Dial(vsock.Host, proto.Port, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the host over vsock (the kernel needs virtio-mmio and vsock built in): %w", err)
	}
	if err := proto.WriteFrame(c, m); err != nil {
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
