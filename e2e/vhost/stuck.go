package vhost

import (
	"context"
	"errors"
	"strings"
	"time"
)

// ErrStuck is a fault of QEMU's nested SVM, not of what ran: the host's processor
// sleeps in HLT with interrupts allowed while one is pending, and never wakes, not
// even for an NMI. It was seen in about one of two suites; the job is to be run
// again.
var ErrStuck = errors.New("the virtual host's processor sleeps for ever on a pending interrupt: a fault of QEMU's")

// stuckInterval is how often the processor is looked at, stuckLooks how often in
// a row it has to be found asleep on an interrupt, which takes it microseconds.
const (
	stuckInterval = 2 * time.Second
	stuckLooks    = 5
)

// awaitStuck returns ErrStuck when the machine is, or why it cannot look any more.
func awaitStuck(ctx context.Context, socket string) error {
	looks := 0
	for looks < stuckLooks {
		select {
		case <-time.After(stuckInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
		asleep, err := asleepOnInterrupt(ctx, socket)
		if err != nil {
			return err
		}
		looks++
		if !asleep {
			looks = 0
		}
	}
	return ErrStuck
}

// asleepOnInterrupt asks QEMU for the registers and the local APIC.
func asleepOnInterrupt(ctx context.Context, socket string) (bool, error) {
	q, err := dialQMP(ctx, socket)
	if err != nil {
		return false, err
	}
	defer q.c.Close()
	registers, err := q.human("info registers")
	if err != nil {
		return false, err
	}
	apic, err := q.human("info lapic")
	if err != nil {
		return false, err
	}
	_, pending, found := strings.Cut(apic, "\nIRR\t ")
	return strings.Contains(registers, "HLT=1") && found && !strings.HasPrefix(pending, "(none)"), nil
}
