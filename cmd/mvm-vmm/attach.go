package main

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// attach connects a command to the container's first process.
func (v *machine) attach(conn *control.Conn, a control.Attach) {
	if v.start.direct() && v.start.Spec.Log == nil {
		done(conn, errors.New("the container runs in the foreground of another mvm command, to which alone its streams go"))
		return
	}
	s, err := v.running()
	if err != nil {
		done(conn, err)
		return
	}
	c, started, files, err := newClient(v.start.Spec.Process, a.Stdin, false)
	if err != nil {
		done(conn, err)
		return
	}
	if err := v.out.add(c); err != nil {
		c.close()
		closeAll(files)
		done(conn, err)
		return
	}
	defer v.out.remove(c)
	err = conn.Send(control.Message{Started: started}, files...)
	closeAll(files)
	if err != nil {
		return
	}
	gone := make(chan struct{})
	go func() { // ends when the command closes: at the latest when attach returns
		defer close(gone)
		for {
			m, err := conn.Receive()
			switch {
			case err != nil:
				return
			case m.Signal != nil:
				v.signal(m.Signal.Signo)
			case m.Resize != nil:
				s.resize(firstProcess, *m.Resize)
			}
		}
	}()
	select {
	case <-gone:
	case <-s.settled:
		_ = conn.Send(s.verdict)
	}
}

// attachStarter makes the streams of the command that starts the container.
func (v *machine) attachStarter() error {
	c, started, files, err := newClient(v.start.Spec.Process, true, true)
	if err != nil {
		return err
	}
	v.starter.client, v.starter.message, v.starter.files = c, *started, files
	return v.out.add(c)
}

// newClient makes the sockets between a client and the first process, and the
// message that goes with the client's ends.
func newClient(p proto.Process, stdin, owner bool) (*client, *control.Started, []*os.File, error) {
	c := &client{outputs: map[string]net.Conn{}, owner: owner}
	started := &control.Started{}
	var files []*os.File
	add := func(name string) (net.Conn, error) {
		near, far, err := socketPair()
		if err == nil {
			started.Streams = append(started.Streams, name)
			files = append(files, far)
		}
		return near, err
	}
	var err error
	if p.TTY != nil {
		if c.outputs[proto.Stdout], err = add(proto.TTY); err == nil && stdin {
			c.stdin = c.outputs[proto.Stdout]
		}
		return c, started, files, err
	}
	if stdin && p.Stdin {
		c.stdin, err = add(proto.Stdin)
	}
	for _, name := range []string{proto.Stdout, proto.Stderr} {
		if err == nil {
			c.outputs[name], err = add(name)
		}
	}
	return c, started, files, err
}

// socketPair is a connection: one end for mvm-vmm, one to give away.
func socketPair() (near net.Conn, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far = os.NewFile(uintptr(fds[1]), "stream")
	near, err = control.Socket(os.NewFile(uintptr(fds[0]), "stream"))
	if err != nil {
		far.Close()
		return nil, nil, err
	}
	return near, far, nil
}
