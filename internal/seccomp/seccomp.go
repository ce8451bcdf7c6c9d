// Package seccomp leaves the processes that a guest talks to the system calls that they
// need (seccomp(2)). A guest that has taken one over finds no more of the host's
// kernel to attack, and can start no other program.
//
// The filters are tables, made by mkfilters of the rules that it has: a program that
// applies one links nothing that could make another.
package seccomp

//go:generate go run ./mkfilters .

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Apply leaves this process, in all its threads, what the filter allows, as far as
// the host's kernel has filters, and no new privileges. Anything else fails with EPERM,
// and does not end the process: a Go that has come to use a newer call is no attack.
func Apply(filter []unix.SockFilter) error {
	runtime.LockOSThread() // what load gives to all threads is this one's
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := load(filter); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("give up system calls: %w", err)
	}
	return nil
}
