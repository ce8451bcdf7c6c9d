// Command guestinit is PID 1 of the microVM. It asks the host over vsock what to
// do, runs containers' processes in namespaces of their own, carries their
// streams, reaps every orphan, and reports how each process ended.
// docs/guestinit.md draws how it works, docs/protocol.md what it says.
//
// The same program, started by itself, is a container's init, and copies files in
// containers: package launch.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/proto"
)

func main() {
	// A few hundred kilobytes of garbage in a life are not worth a collector, up
	// to a bound that a long stream of messages would reach.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case launch.ArchiveName:
			launch.Archive(os.Args[2:])
		case launch.InitName:
			launch.Init(os.Args[2:])
		}
	}
	// A goroutine that changes its thread's namespaces takes the thread with it when
	// it ends (package launch). The first thread cannot end, and would keep the
	// container's mounts: nothing but this waits on it.
	runtime.LockOSThread()
	ended := make(chan error)
	go func() { ended <- boot() }() // as long as the machine
	if err := <-ended; err != nil {
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
	self, err := openSelf()
	if err != nil {
		return err
	}
	s := newSession(control, dial, self)
	go s.reaper.Run() // as long as the machine
	return s.serve()
}

// connect opens a connection to a port of the host's. Linux gives the host two seconds
// to answer (VSOCK_DEFAULT_CONNECT_TIMEOUT), which a busy one, or one that was stopped
// meanwhile, may take.
func connect(port uint32) (*vsock.Conn, error) {
	for {
		if c, err := vsock.Dial(vsock.Host, port, nil); !errors.Is(err, unix.ETIMEDOUT) {
			return c, err
		}
	}
}

// dial opens a connection to the host and says what it is for.
func dial(m proto.Message) (conn, error) {
	c, err := connect(proto.Port)
	if err != nil {
		return nil, fmt.Errorf("reach the host (the kernel needs virtio-mmio and vsock): %w", err)
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

// The i8042 resets the machine when it is told to pulse its first output line.
const (
	i8042Command    = 0x64
	i8042PulseReset = 0xfe
)

// reset ends the machine. PID 1 must not return. The kernel's way shuts devices
// down first that are gone a moment later: only a machine without an i8042 goes it.
func reset() {
	if ports, err := os.OpenFile("/dev/port", os.O_WRONLY, 0); err == nil {
		_, _ = ports.WriteAt([]byte{i8042PulseReset}, i8042Command)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.Exit(1) // the kernel panics, and resets for that
}
