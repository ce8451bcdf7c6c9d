package vmm

import (
	"errors"
	"fmt"
)

// ErrReset is how Run ends when the guest reset or powered off the machine: the
// orderly end of a microVM, and also that of a guest kernel that panicked.
var ErrReset = errors.New("the guest reset the machine")

// ErrTripleFault is how Run ends when the guest could not even handle a fault.
var ErrTripleFault = errors.New("the guest died of a triple fault")

// ExitError is an exit of KVM_RUN that mvm has no answer to.
type ExitError struct {
	What  string // KVM's name of the exit, and what it tells of it
	CPU   int
	RIP   uint64
	Bytes []byte // the instruction at RIP and what follows, as far as it can be read
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("KVM cannot go on with vCPU %d: %s, at RIP %#x, instruction bytes [% x]", e.CPU, e.What, e.RIP, e.Bytes)
}
