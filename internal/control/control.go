// Package control is how the mvm command and the mvm-vmm process it starts talk:
// one connection, a Unix socket pair whose far end mvm-vmm inherits as file
// descriptor FD. Frames are those of guestinit/proto (length-prefixed JSON).
//
//	mvm                                  mvm-vmm
//	 | -- Spec ---------------------------> |  boots the VM
//	 | <----------------------- Started --- |  the container's process runs
//	 | -- Signal -------------------------> |  any number of times
//	 | <-------------- Exit or Failed ----- |  and mvm-vmm ends
//
// mvm-vmm inherits the container's stdin, stdout and stderr as its own 0, 1 and
// 2 and writes nothing of its own to them. If mvm's end closes, the VM is
// stopped: a container in the foreground does not outlive its command.
package control

import (
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/vmm"
)

// FD is mvm-vmm's file descriptor of the connection.
const FD = 3

// Message is one frame: exactly one field is set.
type Message struct {
	Spec    *Spec          `json:",omitempty"`
	Signal  *proto.Signal  `json:",omitempty"`
	Started *proto.Started `json:",omitempty"`
	Exit    *proto.Exit    `json:",omitempty"`
	Failed  *Failed        `json:",omitempty"`
}

// Spec is everything mvm-vmm needs to know.
type Spec struct {
	VM        vmm.Config
	Container proto.Container
	// Console copies the guest's serial console to stderr.
	Console bool `json:",omitempty"`
}

// Failed says that the VM, not the container's process, failed.
type Failed struct {
	// Error is one line: what failed and the way out.
	Error string
	// Console is the end of the guest's console, if it says anything.
	Console string `json:",omitempty"`
}
