package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mvm-project/mvm/devices/rng"
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/vmm"
)

// helloTimeout bounds a boot: far above the slowest host's, so that it ends a
// guest that hangs and nothing else. Two minutes were seen on a kvm-pvm host with
// ten times the load it has processors for.
const helloTimeout = 10 * time.Minute

// firstProcess names the container's first process.
const firstProcess = "1"

// session is one run of a container: one VM's life.
type session struct {
	*guest
	spec    control.Spec
	out     *outlet
	helpers []*helper
	vm      *vmm.VM        // set before the first process runs
	open    sync.WaitGroup // the first process's stdout and stderr, each until its end
	started chan struct{}  // closed when the first process runs
	execs   chan struct{}  // holds one thing for each exec under way
	turns   atomic.Int64   // how many execs there have been
	nextID  int            // of the last exec; needs guest.mu

	freezing sync.Mutex      // held while the container is being frozen, or thawed
	frozen   bool            // needs freezing
	verdict  control.Message // how it ended; set before over is closed
	settled  chan struct{}   // closed when that is on disk, or the container is being restarted

	signals struct {
		sync.Mutex
		running bool
		pending []int // that came before the process ran
	}
}

func newSession(spec control.Spec, out *outlet) (*session, error) {
	g, err := newGuest(spec)
	if err != nil {
		return nil, err
	}
	return &session{guest: g, spec: spec, out: out, started: make(chan struct{}), settled: make(chan struct{}), execs: make(chan struct{}, maxExecs)}, nil
}

// settle lets the commands know how the run ended that are attached to it. A second
// call does nothing.
func (s *session) settle() {
	if s == nil {
		return
	}
	select {
	case <-s.settled:
	default:
		close(s.settled)
	}
}

// converse starts the container and returns how it exited, after all its output
// has been written. It ends early when ctx does, or when ended yields the end of
// the VM; onStart is called when the process runs.
func (s *session) converse(ctx context.Context, ended <-chan error, onStart func(proto.Spawned)) (control.Exit, error) {
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	p := s.add(firstProcess, s.out.streams(s.spec.Process, &s.open, over))
	spawn := make(chan proto.Reply, 3)
	if err := s.start(ctx, ended, spawn); err != nil {
		return control.Exit{}, err
	}
	var exited <-chan proto.Exited // not before the process runs: both come at once of a short one
	for {
		select {
		case r := <-spawn:
			if r.Error != nil {
				return control.Exit{Code: r.Error.Status(), Error: r.Error.Text}, nil // the refusal is how the container ended
			}
			if r.Spawned != nil {
				onStart(*r.Spawned)
				s.run()
				exited = p.exited
			}
		case e := <-exited:
			end()
			if e.Error != "" {
				return control.Exit{}, errors.New(e.Error)
			}
			return control.Exit{Code: e.Status(), Signal: e.Signal, OOMKilled: e.OOMKilled}, s.drain(ctx, ended)
		case err := <-s.fail:
			return control.Exit{}, gone(ended, err)
		case err := <-ended:
			return control.Exit{}, stopped(err)
		case <-ctx.Done():
			return control.Exit{}, context.Cause(ctx)
		}
	}
}

// start waits for the guest and asks it to start the container; what it answers
// goes to replies.
func (s *session) start(ctx context.Context, ended <-chan error, replies chan<- proto.Reply) error {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case <-s.hello:
	case err := <-s.fail:
		return gone(ended, err)
	case err := <-ended:
		return stopped(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timeout.C:
		return fmt.Errorf("the guest did not come up within %v: see its console with --console", helloTimeout)
	}
	for _, h := range s.helpers {
		if err := h.await(ctx); err != nil {
			return err
		}
	}
	seed := make([]byte, 64)
	if _, err := io.ReadFull(rng.Host{}, seed); err != nil {
		return fmt.Errorf("the guest's seed: %w", err)
	}
	answers, err := s.send(
		proto.Request{Setup: &proto.Setup{Seed: seed, Time: time.Now().UnixNano(), Interface: s.spec.Interface}},
		proto.Request{Create: &proto.Create{Container: s.spec.Container}},
		proto.Request{Spawn: &proto.Spawn{Container: s.container, Process: firstProcess, Spec: s.spec.Process}})
	if err != nil {
		return gone(ended, err)
	}
	go func() { // ends with the last answer, or with the guest
		for _, a := range answers {
			r, err := s.await(a)
			if err != nil {
				return
			}
			replies <- r // has room for all
		}
	}()
	return nil
}

// run notes that the process runs, and sends the signals that came before.
func (s *session) run() {
	s.signals.Lock()
	defer s.signals.Unlock()
	s.signals.running = true
	close(s.started)
	for _, signo := range s.signals.pending {
		s.kill(firstProcess, signo)
	}
	s.signals.pending = nil
}

// maxPending bounds the signals that wait for the process, as Linux bounds those
// that are queued.
const maxPending = 64

// signal passes a signal to the container's first process, once there is one.
func (s *session) signal(signo int) {
	s.signals.Lock()
	defer s.signals.Unlock()
	switch {
	case s.signals.running:
		s.kill(firstProcess, signo)
	case len(s.signals.pending) < maxPending:
		s.signals.pending = append(s.signals.pending, signo)
	}
}

// kill sends a signal to a process. One that is gone needs none.
func (s *session) kill(process string, signo int) {
	_, _ = s.send(proto.Request{Signal: &proto.Signal{Container: s.container, Process: process, Signo: signo}})
}

// drain waits until stdout and stderr have been written to the end, however
// slow their readers are. The guest keeps its VM up until then; one that stops
// before has broken its streams off.
func (s *session) drain(ctx context.Context, ended <-chan error) error {
	written := make(chan struct{})
	go func() { // ends with the streams: at the latest when the VM closes them
		s.open.Wait()
		close(written)
	}()
	select {
	case <-written:
		return nil
	case err := <-s.fail:
		return gone(ended, err)
	case err := <-ended:
		return stopped(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// gone explains the end of the control connection, which comes with or just
// before the end of the VM.
func gone(ended <-chan error, err error) error {
	select {
	case vmErr := <-ended:
		return stopped(vmErr)
	case <-time.After(time.Second):
		return err
	}
}

// stopped explains a VM that ended before its container did.
func stopped(err error) error {
	if err != nil {
		return err
	}
	return errors.New("the guest stopped before the container's end")
}

// removeStale removes a socket that a killed mvm-vmm left.
func removeStale(path string) { _ = os.Remove(path) }

// closeWrite is a half-close.
func closeWrite(c net.Conn) {
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.CloseWrite()
	}
}
