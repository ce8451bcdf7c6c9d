// Package control is how mvm commands and a container's mvm-vmm process talk.
// docs/container.md draws it.
//
// The command that starts mvm-vmm has a connection to it from the beginning, a
// socket pair whose far end mvm-vmm inherits as file descriptor FD:
//
//	mvm                                  mvm-vmm
//	 | -- Start --------------------------> |  boots the VM
//	 | <----------------------- Started --- |  the container's process runs
//	 | -- Signal, Resize, Detach ---------> |  any number of times
//	 | <-------------- Exit or Failed ----- |
//
// Every other command connects to the socket File in the container's folder, to
// which the folder's mode (0700) admits its owner alone:
//
//	mvm                                  mvm-vmm
//	 | <------------------------- Hello --- |
//	 | -- one of Exec, Attach, Ask, Signal, |
//	 |    Stop, Wait, Change, Measure ----> |
//	 | <-- Started, with the streams ------ |  to Exec and Attach
//	 | -- Signal, Resize -----------------> |  after these two: any number of times
//	 | <-- Reply, Traffic, Done, Exit       |
//	 |     or Failed ---------------------- |  the last word
//
// The streams of a process come as file descriptors beside Started
// (SCM_RIGHTS): sockets of its own for each, so that bytes pass no further
// process and one reader cannot hold up another.
//
// Frames are those of guestinit/proto: length-prefixed JSON.
package control

import (
	"slices"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/logfile"
	"github.com/mvm-project/mvm/vmm"
)

const (
	// FD is mvm-vmm's file descriptor of the connection it is started with.
	FD = 3
	// LinkFD is its file descriptor of the guest's network interface, on a network
	// of kind user or bridge.
	LinkFD = 5
	// HelperFD is where mvm-netd tells there whether it is ready, and then that it
	// lives, by leaving it open.
	HelperFD = 6
	// FoldersLinkFD is its end of mvm-fsd's link, of a container that has folders of
	// the host.
	FoldersLinkFD = 7
	// FoldersFD is where mvm-fsd tells what mvm-netd does by HelperFD.
	FoldersFD = 8
	// AfterFD is its connection to a command that waits to clear up after a container:
	// a line tells it to, when one has ended that outlived the connection to mvm, and
	// its end that it has. mvm-vmm itself can start no program.
	AfterFD = 9
	// File is the socket in the container's folder.
	File = "control"
	// Version is the protocol's: an mvm-vmm may be older than the mvm that asks.
	Version = 1
)

// Message is one frame: exactly one field is set.
type Message struct {
	// From mvm.
	Start   *Start         `json:",omitempty"`
	Exec    *Exec          `json:",omitempty"`
	Attach  *Attach        `json:",omitempty"`
	Ask     *proto.Request `json:",omitempty"` // Freeze, List or Stats
	Signal  *Signal        `json:",omitempty"`
	Resize  *proto.Size    `json:",omitempty"`
	Detach  *Detach        `json:",omitempty"`
	Stop    *Stop          `json:",omitempty"`
	Wait    *Wait          `json:",omitempty"`
	Change  *Change        `json:",omitempty"`
	Measure *Measure       `json:",omitempty"`

	// From mvm-vmm.
	Hello   *Hello       `json:",omitempty"`
	Started *Started     `json:",omitempty"`
	Reply   *proto.Reply `json:",omitempty"`
	Traffic *Traffic     `json:",omitempty"`
	Done    *Done        `json:",omitempty"`
	Exit    *Exit        `json:",omitempty"`
	Failed  *Failed      `json:",omitempty"`
}

// Hello is mvm-vmm's first word to a command that has connected.
type Hello struct {
	Version int
}

// Start tells a new mvm-vmm what to be.
type Start struct {
	Spec Spec
	// Detached lets the container outlive the connection. Otherwise it ends with
	// it, unless a Detach comes.
	Detached bool `json:",omitempty"`
	// Attach sends the process's streams with Started. Otherwise they are
	// mvm-vmm's own stdin, stdout and stderr.
	Attach bool `json:",omitempty"`
	// After says that mvm-vmm has AfterFD.
	After bool `json:",omitempty"`
	// Visit boots the container's microVM for something else than its life: nothing
	// of it is noted, and it ends with the connection.
	Visit bool `json:",omitempty"`
}

// Spec is everything mvm-vmm needs to know of a container.
type Spec struct {
	VM        vmm.Config
	Container proto.Container
	Process   proto.Process
	// Interface is the guest's network interface; nil: it has none.
	Interface *proto.Interface `json:",omitempty"`
	// Console copies the guest's serial console to stderr.
	Console bool `json:",omitempty"`
	// Log bounds the container's log; nil: there is none.
	Log *logfile.Limits `json:",omitempty"`
	// Restart starts the process again when it has ended.
	Restart Restart `json:",omitzero"`
}

// Linked says whether mvm-vmm has LinkFD and HelperFD.
func (s Spec) Linked() bool {
	return slices.ContainsFunc(s.VM.NICs, func(n vmm.NIC) bool { return n.FD == LinkFD })
}

// Shares says whether mvm-vmm has FoldersLinkFD and FoldersFD.
func (s Spec) Shares() bool {
	return slices.ContainsFunc(s.Container.Mounts, func(m proto.Mount) bool { return m.FS == proto.ShareFS })
}

// Restart is a restart policy.
type Restart struct {
	// Always restarts after every end, Failures only after an exit status other
	// than 0. A Stop ends both.
	Always, Failures bool `json:",omitempty"`
	// Max bounds how often in a row; 0: no bound.
	Max int `json:",omitempty"`
}

// Exec starts a further process in the container.
type Exec struct {
	Process proto.Process
	// Detached is done when the process runs: no streams, no Exit.
	Detached bool `json:",omitempty"`
}

// Attach asks for the streams of the container's first process, from now on.
type Attach struct {
	Stdin bool `json:",omitempty"`
}

// Signal is sent to the process.
type Signal struct {
	Signo int
}

// Detach lets the container outlive the connection it was started with.
type Detach struct{}

// Stop ends the container: with a signal, and after Patience with SIGKILL. It is
// not restarted. The answer is Exit or Failed.
type Stop struct {
	Signo    int
	Patience time.Duration
}

// Wait is answered with Exit or Failed when the container has ended.
type Wait struct{}

// Started says that the process runs.
type Started struct {
	PID int // in the container
	// Streams are the names of the streams that come with it.
	Streams []string `json:",omitempty"`
}

// Done says that what was asked is done, or why not.
type Done struct {
	Error string `json:",omitempty"`
}

// Exit says how a process ended, or why it never began.
type Exit struct {
	// Code is the exit status; with Signal set it is 128+Signal; with Error set
	// it is 126 (not executable), 127 (not found) or 125 (mvm or the guest failed).
	Code int
	// Signal is the signal that ended the process, 0 if none did.
	Signal int `json:",omitempty"`
	// OOMKilled says that memory ran out in the container.
	OOMKilled bool `json:",omitempty"`
	// Error is one line saying why the process could not be started.
	Error string `json:",omitempty"`
}

// Failed says that the VM, not the container's process, failed.
type Failed struct {
	// Error is one line: what failed and the way out.
	Error string
	// Console is the end of the guest's console, if it says anything.
	Console string `json:",omitempty"`
}
