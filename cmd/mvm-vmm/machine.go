package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/legacy"
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/logfile"
	"github.com/mvm-project/mvm/ratelimit"
	"github.com/mvm-project/mvm/vmm"
)

// machine is a container from its start to its end: one VM after another, if it
// is restarted.
type machine struct {
	start   order
	conn    *control.Conn // to the command that started it
	out     *outlet
	helpers []*helper
	after   net.Conn      // to the command that clears up; nil: there is nothing to
	over    chan struct{} // closed when verdict is there
	// verdict is Exit or Failed.
	verdict control.Message

	// starter is what the command that started the container is attached by.
	starter struct {
		client  *client // nil: it is not
		message control.Started
		files   []*os.File
	}
	commands sync.WaitGroup // being answered
	noting   sync.Mutex     // held while state.json is changed

	mu       sync.Mutex // start.Spec's limits need it too
	current  *session
	cancel   context.CancelCauseFunc // ends the current VM
	detached bool
	deserted bool          // by the command it was to end with
	stopping chan struct{} // closed by noRestart
}

// order is what mvm wants.
type order struct{ control.Start }

// direct says that mvm-vmm's own stdin, stdout and stderr are the container's.
func (o order) direct() bool { return !o.Detached && !o.Attach }

func newMachine(conn *control.Conn, st control.Start) (*machine, error) {
	v := &machine{
		start: order{st}, conn: conn, detached: st.Detached,
		over: make(chan struct{}), stopping: make(chan struct{}), cancel: func(error) {},
	}
	v.out = newOutlet(v.start.direct())
	v.out.once = !st.Detached && st.Spec.Process.TTY == nil
	v.helpers = inheritHelpers(st.Spec)
	var err error
	if st.After {
		unix.CloseOnExec(control.AfterFD)
		v.after, err = control.Socket(os.NewFile(control.AfterFD, "after"))
	}
	if err == nil && st.Spec.Log != nil {
		v.out.limiter = ratelimit.New(ratelimit.Limits{Bytes: st.Spec.Log.Rate})
		v.out.log, err = logfile.Create(container.LogFile, *st.Spec.Log)
	}
	return v, err
}

// supervise runs the container to its end, which is on disk before anybody hears
// of it.
func (v *machine) supervise() {
	var s *session
	var answer control.Message
	for _, h := range v.helpers {
		go h.watch(v.stopVM) // ends with the helper: at the latest by close
	}
	for failures := 0; ; {
		var ran time.Duration
		s, answer, ran = v.run(failures == 0)
		if ran > steady {
			failures = 0
		}
		if failures++; !v.again(answer, failures) {
			break
		}
		s.settle()
		if !v.pause(failures) {
			break
		}
		if err := v.note(container.Restarted); err != nil {
			answer = failed(err)
			break
		}
	}
	if v.out.log != nil {
		_ = v.out.log.Close()
	}
	for _, h := range v.helpers {
		h.close()
	}
	if v.detached {
		container.Dispose(".")
	}
	err := v.note(func(dir string) error { return container.Ended(dir, answer) })
	v.tidy()
	if err != nil && answer.Failed == nil {
		answer = failed(fmt.Errorf("note how the container ended: %w", err))
	}
	v.verdict = answer
	close(v.over)
	s.settle()
}

const (
	// steady is how long a process has to run for its end to be taken as the
	// first again, as docker has it.
	steady = 10 * time.Second
	// firstPause is how long a restart waits; each that follows twice as long as
	// the one before, up to maxPause.
	firstPause = 100 * time.Millisecond
	maxPause   = time.Minute
)

// again says whether the container is to be restarted.
func (v *machine) again(answer control.Message, failures int) bool {
	v.mu.Lock()
	r := v.start.Spec.Restart
	v.mu.Unlock()
	good := answer.Exit != nil && answer.Exit.Code == 0
	refused := answer.Exit != nil && answer.Exit.Error != ""
	lost := slices.ContainsFunc(v.helpers, (*helper).lost)
	return !refused && !lost && (r.Always || r.Failures && !good) && (r.Max == 0 || failures <= r.Max)
}

// pause waits before a restart; it returns false if there is to be none.
func (v *machine) pause(failures int) bool {
	pause := maxPause
	if failures < 10 {
		pause = min(maxPause, firstPause<<(failures-1))
	}
	select {
	case <-v.stopping:
		return false
	case <-time.After(pause):
		return true
	}
}

// noRestart makes the container's next end its last.
func (v *machine) noRestart() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.stopping:
	default:
		close(v.stopping)
	}
}

// session is the run under way; nil between two.
func (v *machine) session() *session {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current
}

func (v *machine) setSession(s *session, cancel context.CancelCauseFunc) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.cancel = s, cancel
}

// stopVM ends the VM that is up.
func (v *machine) stopVM(cause error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cancel(cause)
}

// desert ends a container that was to end with its command.
func (v *machine) desert() {
	v.mu.Lock()
	v.deserted = !v.detached
	deserted := v.deserted
	v.mu.Unlock()
	if deserted {
		v.noRestart()
		v.stopVM(errDeserted)
	}
}

func (v *machine) isDeserted() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.deserted
}

// detach lets the container outlive the command it was started by.
func (v *machine) detach() {
	v.mu.Lock()
	v.detached = true
	v.mu.Unlock()
	if v.starter.client != nil {
		v.out.remove(v.starter.client)
	}
}

// afterPatience is how long the command after the end may take: tens of milliseconds.
const afterPatience = 10 * time.Second

// tidy tells the command that waits for it to clear up what mvm made for a container
// that nobody waits for. Where it fails, the next mvm command does the same.
func (v *machine) tidy() {
	if v.after == nil || !v.isDetached() {
		return
	}
	_ = v.after.SetDeadline(time.Now().Add(afterPatience)) // it is a socket
	_, _ = v.after.Write([]byte("\n"))
	_, _ = io.Copy(io.Discard, v.after) // until its end
}

// note writes down what became of the container: one thing at a time.
func (v *machine) note(what func(dir string) error) error {
	if v.start.Visit {
		return nil
	}
	v.noting.Lock()
	defer v.noting.Unlock()
	return what(".")
}

// notePaused writes down that the container is frozen, or not any more, if s still
// is the run under way.
func (v *machine) notePaused(s *session, is bool) error {
	return v.note(func(dir string) error {
		if v.session() != s {
			return errOver
		}
		return container.PausedNow(dir, is)
	})
}

// run boots a VM and carries the container to its end, and says for how long its
// process ran.
func (v *machine) run(first bool) (s *session, answer control.Message, ran time.Duration) {
	tail := legacy.NewTail(consoleTail)
	var began time.Time
	s, answer = v.boot(tail, func(sp proto.Spawned) {
		began = time.Now()
		if first {
			v.tellStarted(sp)
		}
	})
	if answer.Failed != nil {
		answer.Failed.Console = tail.String()
	}
	if !began.IsZero() {
		ran = time.Since(began)
	}
	return s, answer, ran
}

// boot returns no session if there could be none.
func (v *machine) boot(tail io.Writer, onStart func(proto.Spawned)) (s *session, answer control.Message) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	v.mu.Lock()
	spec := v.start.Spec
	v.mu.Unlock()
	console := tail
	if spec.Console {
		console = io.MultiWriter(tail, os.Stderr)
	}
	s, err := newSession(spec, v.out)
	if err != nil {
		return nil, failed(err)
	}
	v.setSession(s, cancel)
	defer func() {
		v.out.removeAll()
		v.setSession(nil, func(error) {})
		s.verdict = answer
		s.close()
	}()
	if v.isDeserted() {
		return s, failed(errDeserted)
	}
	vm, err := vmm.New(spec.VM, console)
	if err != nil {
		return s, failed(err)
	}
	defer func() { _ = vm.Close() }()
	s.vm = vm
	runtime.GOMAXPROCS(vm.Procs())

	ended := make(chan error, 1)
	var vcpus sync.WaitGroup
	vcpus.Go(func() { ended <- vm.Run(ctx) }) // ends with the VM, at the latest by cancel
	defer vcpus.Wait()                        // before vm.Close
	defer cancel(nil)
	s.helpers = v.helpers
	exit, err := s.converse(ctx, ended, onStart)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return s, failed(err)
	}
	return s, control.Message{Exit: &exit}
}

// tellStarted tells the command that waits for it. One that is lost is noticed
// by follow.
func (v *machine) tellStarted(sp proto.Spawned) {
	v.starter.message.PID = sp.PID
	_ = v.conn.Send(control.Message{Started: &v.starter.message}, v.starter.files...)
	closeAll(v.starter.files)
}

func failed(err error) control.Message {
	return control.Message{Failed: &control.Failed{Error: err.Error()}}
}
