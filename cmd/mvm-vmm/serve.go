package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

const (
	// maxCommands is how many commands may be connected at once, and maxAttached
	// how many of them attached: there is room left for the one that ends it all.
	maxCommands = 1024
	maxAttached = 64
	// killPatience is how long a guest may take to end its container after
	// SIGKILL, before its VM is ended.
	killPatience = 10 * time.Second
)

// serve takes commands until the listener closes.
func (v *machine) serve(ln *control.Listener) {
	slots := make(chan struct{}, maxCommands)
	for {
		slots <- struct{}{}
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		v.commands.Go(func() { // ends when the command closes, or with the container
			defer func() { <-slots }()
			defer func() { _ = conn.Close() }()
			v.command(conn)
		})
	}
}

// command answers one command.
func (v *machine) command(conn *control.Conn) {
	if conn.Send(control.Message{Hello: &control.Hello{Version: control.Version}}) != nil {
		return
	}
	m, err := conn.Receive()
	if err != nil {
		return
	}
	switch {
	case m.Exec != nil:
		v.exec(conn, *m.Exec)
	case m.Attach != nil:
		v.attach(conn, *m.Attach)
	case m.Ask != nil:
		v.ask(conn, *m.Ask)
	case m.Signal != nil:
		v.signal(m.Signal.Signo)
		_ = conn.Send(control.Message{Done: &control.Done{}})
	case m.Stop != nil:
		v.stop(conn, *m.Stop)
	case m.Wait != nil:
		v.wait(conn)
	case m.Change != nil:
		done(conn, v.change(*m.Change))
	case m.Measure != nil:
		v.measure(conn)
	default:
		_ = conn.Send(control.Message{Done: &control.Done{Error: "control: nothing that can be asked"}})
	}
}

func done(conn *control.Conn, err error) {
	d := &control.Done{}
	if err != nil {
		d.Error = err.Error()
	}
	_ = conn.Send(control.Message{Done: d}) // who asked may be gone
}

// signal passes a signal on. One that is meant to end the container also ends
// its restarts.
func (v *machine) signal(signo int) {
	if signo == int(unix.SIGKILL) || signo == int(unix.SIGTERM) {
		v.noRestart()
	}
	if s := v.session(); s != nil {
		s.signal(signo)
	}
}

// wait tells how the container ended, once it has.
func (v *machine) wait(conn *control.Conn) {
	gone := make(chan struct{})
	go func() { // ends when the command closes, which it does
		_, _ = conn.Receive()
		close(gone)
	}()
	select {
	case <-v.over:
		_ = conn.Send(v.verdict)
	case <-gone:
	}
}

// stop ends the container, and tells how.
func (v *machine) stop(conn *control.Conn, st control.Stop) {
	v.noRestart()
	if s := v.session(); s != nil {
		go func() { _ = v.freeze(s, false) }() // a paused one would not act on the signal; ends with the guest
	}
	for _, step := range []struct {
		signo    int
		patience time.Duration
	}{{st.Signo, st.Patience}, {int(unix.SIGKILL), killPatience}} {
		v.signal(step.signo)
		select {
		case <-v.over:
			_ = conn.Send(v.verdict)
			return
		case <-time.After(step.patience):
		}
	}
	v.stopVM(errors.New("the guest did not end its container after SIGKILL: its VM was ended"))
	<-v.over
	_ = conn.Send(v.verdict)
}

// ask passes a question or an order on to the guest.
func (v *machine) ask(conn *control.Conn, r proto.Request) {
	s, err := v.running()
	if err != nil {
		done(conn, err)
		return
	}
	switch {
	case r.Freeze != nil:
		if err := v.freeze(s, !r.Freeze.Thaw); err != nil {
			done(conn, err)
			return
		}
		_ = conn.Send(control.Message{Reply: &proto.Reply{}})
		return
	case r.List != nil:
		r.List.Container = s.container
	case r.Stats != nil:
		r.Stats.Container = s.container
	default:
		done(conn, errors.New("control: not for mvm to ask the guest"))
		return
	}
	reply, err := s.ask(r)
	if err != nil {
		done(conn, err)
		return
	}
	_ = conn.Send(control.Message{Reply: &reply})
}

// change changes limits: inside, where that can fail, and then the devices'. What
// comes after a restart has them too.
func (v *machine) change(c control.Change) error {
	s, err := v.running()
	if err != nil {
		return err
	}
	if c.Restart != nil && !v.isDetached() {
		return errors.New("it runs in the foreground, and ends with its command: only one that was started with -d is restarted")
	}
	if c.Guest != nil {
		reply, err := s.ask(proto.Request{Update: &proto.Update{Container: s.container, Limits: *c.Guest}})
		if err != nil {
			return err
		}
		if reply.Error != nil {
			return reply.Error
		}
	}
	s.vm.Limit(c.Devices)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.start.Spec.Apply(c)
	return nil
}

func (v *machine) isDetached() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.detached
}

// measure tells what has passed the container's limits.
func (v *machine) measure(conn *control.Conn) {
	s, err := v.running()
	if err != nil {
		done(conn, err)
		return
	}
	traffic := control.Traffic{Traffic: s.vm.Traffic(), Log: v.out.limiter.Stats()}
	_ = conn.Send(control.Message{Traffic: &traffic}) // who asked may be gone
}

// freeze stops all of the container, or lets it go on.
func (v *machine) freeze(s *session, frozen bool) error {
	s.freezing.Lock()
	defer s.freezing.Unlock()
	switch {
	case s.frozen && frozen:
		return errors.New("it is paused already")
	case !s.frozen && !frozen:
		return errors.New("it is not paused")
	}
	reply, err := s.ask(proto.Request{Freeze: &proto.Freeze{Container: s.container, Thaw: !frozen}})
	if err != nil {
		return err
	}
	if reply.Error != nil {
		return reply.Error
	}
	s.frozen = frozen
	return v.notePaused(s, frozen)
}

// running waits until the container's first process runs.
func (v *machine) running() (*session, error) {
	s := v.session()
	if s == nil {
		return nil, errOver
	}
	select {
	case <-s.started:
		return s, nil
	case <-s.over:
		return nil, errOver
	}
}
