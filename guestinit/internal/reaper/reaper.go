// Package reaper waits for every process that ends, of which PID 1 is the last
// parent, and never loses the status of one that somebody asks for.
//
//	start:  lock -- fork -- known[pid] = ended -- unlock
//	run:    waitid(P_ALL, WNOWAIT): there is a zombie     it keeps its number until
//	        lock -- wait4 -- ended = known[pid] -- unlock  it is looked up
//	        ended(status), or nobody's: an orphan
//
// A zombie is looked up only while nothing is being started, so that the end of a
// process that has just begun is not taken for an orphan's.
package reaper

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// Reaper is the one waiter of a process. New makes it.
type Reaper struct {
	mu    sync.Mutex
	some  *sync.Cond // a process was started
	known map[int]func(Ending)
	count uint64 // of processes started
}

// Ending is how a process ended.
type Ending struct {
	Status unix.WaitStatus
	Rusage unix.Rusage
}

// New returns a Reaper that knows of no process.
func New() *Reaper {
	r := &Reaper{known: map[int]func(Ending){}}
	r.some = sync.NewCond(&r.mu)
	return r
}

// Start runs fork, which starts a process and returns its number. ended is called
// once with how it ended, by Run, which waits for it.
func (r *Reaper) Start(fork func() (pid int, err error), ended func(Ending)) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return 0, err
	}
	r.known[pid] = ended
	r.count++
	r.some.Signal()
	return pid, nil
}

// Run reaps for ever.
func (r *Reaper) Run() {
	for {
		seen := r.started()
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil:
			r.reap()
		case errors.Is(err, unix.ECHILD):
			r.await(seen)
		}
	}
}

func (r *Reaper) started() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// await waits until more than seen processes have been started: where there is
// no child, none can turn up but by Start.
func (r *Reaper) await(seen uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.count == seen {
		r.some.Wait()
	}
}

// reap takes one zombie away, if there still is one.
func (r *Reaper) reap() {
	var e Ending
	r.mu.Lock()
	pid, err := unix.Wait4(-1, &e.Status, unix.WNOHANG, &e.Rusage)
	var ended func(Ending)
	if err == nil && pid > 0 {
		ended = r.known[pid]
		delete(r.known, pid)
	}
	r.mu.Unlock()
	if ended != nil {
		ended(e)
	}
}
