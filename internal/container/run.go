package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

// IO connects a container with the world.
type IO struct {
	// Stdin, Stdout and Stderr are given to mvm-vmm, which is in another process
	// group: Stdin must not be a terminal. A nil file is /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Signals are passed on to the container's process. A second SIGINT within
	// a second ends the microVM.
	Signals <-chan os.Signal
}

// Exit statuses that are mvm's own.
const (
	codeFailed      = 125 // mvm failed
	codeTimeout     = 124 // Options.Timeout was reached, as timeout(1) has it
	codeSignal      = 128 // beyond: mvm was interrupted, or left alone
	codeInterrupted = codeSignal + int(syscall.SIGINT)
	codeHungUp      = codeSignal + int(syscall.SIGHUP)
	codeUnread      = codeSignal + int(syscall.SIGPIPE)
)

// Run makes a container, runs its process to the end in a microVM of program
// (see FindVMM), and says how it ended. An error means that mvm failed. A
// container whose process never started is removed, as is one with o.Remove.
func (s *Store) Run(ctx context.Context, program string, o Options, stdio IO) (control.Exit, error) {
	id, lock, err := s.create(&o)
	if err != nil {
		return control.Exit{}, fmt.Errorf("make a container: %w", err)
	}
	r := &running{store: s, options: o, stdio: stdio, lock: lock}
	exit, err := r.run(ctx, program, id)
	if o.Remove || !r.started {
		return exit, errors.Join(err, s.discard(id, lock))
	}
	return exit, errors.Join(err, lock.Close())
}

// running is a container in the foreground.
type running struct {
	store   *Store
	options Options
	stdio   IO
	lock    *os.File
	*machine
	started     bool      // the process has run
	timedOut    bool      // it got SIGTERM for that
	interrupted time.Time // the last SIGINT
	verdict     *control.Exit
}

func (r *running) run(ctx context.Context, program, id string) (exit control.Exit, err error) {
	dir := r.store.path(containersDir, id)
	p, err := r.store.plug(id, r.options.Name, r.options.Network)
	if err != nil {
		return control.Exit{}, err
	}
	// mvm-vmm comes up while its disks are made.
	if r.machine, err = launch(program, dir, id, r.lock, r.stdio, p, r.options.Mounts); err != nil {
		return control.Exit{}, err
	}
	_, err = r.begin(id)
	if err != nil {
		r.kill()
		r.end(ctx)
		return control.Exit{}, err
	}
	exit, err = r.follow(ctx)
	state := r.end(ctx)
	if errors.Is(err, errSilent) {
		err = explainDeath(r.cmd.Process.Pid, state)
	}
	return exit, err
}

// begin makes the disks and tells mvm-vmm to boot; what can wait is done while
// it does.
func (r *running) begin(id string) (*Container, error) {
	c, err := r.store.fill(id, r.options)
	if err != nil {
		return nil, err
	}
	if err := c.runningAs(r.machine); err != nil {
		return nil, err
	}
	if err := r.tell(control.Message{Start: &control.Start{Spec: r.plug.spec(c.Spec)}}); err != nil {
		return nil, err
	}
	return c, errors.Join(c.persist(), r.store.Sweep())
}

// stopPatience is how long a process may take to end after SIGTERM, as docker
// stop has it.
const stopPatience = 10 * time.Second

// follow carries signals one way and reports the other, until the end.
func (r *running) follow(ctx context.Context) (control.Exit, error) {
	timeout, stop := after(r.options.Timeout)
	defer stop()
	done := ctx.Done()
	for {
		select {
		case m, open := <-r.messages:
			if exit, over, err := r.hear(ctx, m.Message, open); over {
				return exit, err
			}
		case sig := <-r.stdio.Signals:
			r.signal(sig)
		case <-timeout:
			stop()
			timeout, stop = r.timeOut()
		case <-done:
			done = nil
			r.kill()
		}
	}
}

// after is a timer for d, and how to stop it; none for 0.
func after(d time.Duration) (fires <-chan time.Time, stop func()) {
	if d == 0 {
		return nil, func() {}
	}
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// hear takes a message of mvm-vmm's, or the end of them; over says whether that
// was all.
func (r *running) hear(ctx context.Context, m control.Message, open bool) (exit control.Exit, over bool, err error) {
	switch {
	case r.verdict != nil && (!open || m.Started == nil):
		return *r.verdict, true, nil
	case !open && ctx.Err() != nil:
		return control.Exit{}, true, context.Cause(ctx)
	case !open:
		return control.Exit{}, true, errSilent
	case m.Started != nil:
		r.started = true
	case m.Exit != nil:
		return checked(*m.Exit), true, nil
	case m.Failed != nil:
		return control.Exit{}, true, failure(*m.Failed)
	}
	return control.Exit{}, false, nil
}

// errSilent is how follow ends when mvm-vmm ended without a word.
var errSilent = errors.New("mvm-vmm ended without a word")

// timeOut asks the process to end, and the second time ends the microVM.
func (r *running) timeOut() (next <-chan time.Time, stop func()) {
	r.verdict = &control.Exit{Code: codeTimeout, Error: fmt.Sprintf("the container reached its --timeout of %v", r.options.Timeout)}
	if r.timedOut {
		r.kill()
		return nil, func() {}
	}
	r.timedOut = true
	r.send(syscall.SIGTERM)
	return after(stopPatience)
}

// interruptedTwice is the time in which a second Ctrl-C means impatience.
const interruptedTwice = time.Second

func (r *running) signal(sig os.Signal) {
	if sig == os.Interrupt {
		if time.Since(r.interrupted) < interruptedTwice {
			r.verdict = &control.Exit{Code: codeInterrupted, Error: "killed by a second Ctrl-C"}
			r.kill()
			return
		}
		r.interrupted = time.Now()
	}
	if s, ok := sig.(syscall.Signal); ok {
		r.send(s)
	}
}

// send passes a signal on. A mvm-vmm that is gone is noticed by follow.
func (r *running) send(sig syscall.Signal) {
	_ = r.conn.Send(control.Message{Signal: &control.Signal{Signo: int(sig)}})
}
