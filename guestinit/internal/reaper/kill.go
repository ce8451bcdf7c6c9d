package reaper

import "golang.org/x/sys/unix"

// Kill sends a signal to a process that was started here and has not been waited
// for: not to another one that was given its number.
func (r *Reaper) Kill(pid int, signo unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[pid] == nil {
		return unix.ESRCH
	}
	return unix.Kill(pid, signo)
}
