// Package proto is the language that guestinit (PID 1 of the microVM) and the
// host speak over vsock. docs/protocol.md is the same on one page.
//
// The guest opens every connection, to the host (CID 2) on Port. Its first frame
// says what the connection is for:
//
//	guest                                        host
//	  | -- connect :Port   Hello{Version} --------> |  control connection
//	  | <----- Request{1, Setup} ------------------ |  these may be sent in one go:
//	  | <----- Request{2, Create{Container}} ------ |  they take effect in their order
//	  | <----- Request{3, Spawn{Process}} --------- |
//	  | -- Reply{1} ------------------------------> |  exactly one per request,
//	  | -- Reply{2} ------------------------------> |  in any order
//	  | -- connect :Port   Stream{stdin} ---------> |  then raw bytes, host to guest
//	  | -- connect :Port   Stream{stdout} --------> |  then raw bytes, guest to host
//	  | -- connect :Port   Stream{stderr} --------> |  then raw bytes, guest to host
//	  | -- Reply{3, Spawned{PID}} ----------------> |  or Reply{3, Error}: nothing ran
//	  | <----- Request{4, Signal | List | ...} ---- |  any number of times
//	  | -- Reply{4, ...} -------------------------> |
//	  | -- OOM{Container} ------------------------> |  unasked: memory ran out
//	  | -- Exited{Container, Process, Code} ------> |  unasked, once per process
//	  | <----- closes ----------------------------- |  the host ends the machine
//
// A container's first process is its life: when it ends, the guest kills what is
// left of the container, writes its root to disk, and only then reports Exited,
// after the Exited of all its other processes. The container is gone with that.
// A stream outlives its process as long as anybody in the guest holds it open.
//
// A frame is a 4-byte little-endian length and that many bytes of JSON, at most
// MaxRequest from the host and MaxMessage from the guest. Half-close of a stream
// is vsock's own shutdown; back-pressure is vsock's credit.
package proto

// Version is the protocol's version; host and guest must have the same one.
const Version = 2

// Port is the host's vsock port for every connection of this protocol, and SharesPort
// the one on which folders of the host are served by 9P2000.L.
const (
	Port       = 1024
	SharesPort = 1025
)

// Bounds of one frame's JSON, in bytes. A request carries arguments and an
// environment, for which Linux has a bound of 2 MiB. What a guest says is kept
// short, because decoded JSON may take fifty times its length.
const (
	MaxRequest = 4 << 20
	MaxMessage = 256 << 10
)

// Message is a frame of the guest's: exactly one field is set.
type Message struct {
	Hello  *Hello  `json:",omitempty"`
	Stream *Stream `json:",omitempty"`
	Reply  *Reply  `json:",omitempty"`
	Exited *Exited `json:",omitempty"`
	OOM    *OOM    `json:",omitempty"`
}

// Request is a frame of the host's: a number that is not in use, and exactly one
// of the other fields.
type Request struct {
	ID     uint64
	Setup  *Setup  `json:",omitempty"`
	Create *Create `json:",omitempty"`
	Spawn  *Spawn  `json:",omitempty"`
	Signal *Signal `json:",omitempty"`
	Resize *Resize `json:",omitempty"`
	Freeze *Freeze `json:",omitempty"`
	List   *List   `json:",omitempty"`
	Stats  *Stats  `json:",omitempty"`
	Update *Update `json:",omitempty"`
	Delete *Delete `json:",omitempty"`
}

// Hello is the first frame of the control connection.
type Hello struct {
	Version int
}

// Names of a process's streams.
const (
	Stdin  = "stdin"
	Stdout = "stdout"
	Stderr = "stderr"
	TTY    = "tty" // both ways, in place of the other three
)

// Stream is the first frame of a connection that carries one of a process's
// streams; raw bytes follow it.
type Stream struct {
	Container, Process string
	Name               string // Stdin, Stdout, Stderr or TTY
}

// Reply answers the request of the same number. At most one field besides ID is
// set; none is for a request that was done and has nothing to tell.
type Reply struct {
	ID        uint64
	Error     *Error     `json:",omitempty"`
	Spawned   *Spawned   `json:",omitempty"`
	Processes *Processes `json:",omitempty"`
	Usage     *Usage     `json:",omitempty"`
}

// Setup prepares the machine, once, before all else.
type Setup struct {
	// Seed is entropy for the guest's RNG, 32 bytes or more.
	Seed []byte
	// Time is the host's wall clock, nanoseconds since the Unix epoch.
	Time int64
	// Interface is the machine's connection to the world; nil: it has none.
	Interface *Interface `json:",omitempty"`
}

// Create makes a container: root, namespaces to be, cgroup. Nothing runs in it.
type Create struct {
	Container Container
}

// Spawn starts a process in a container: the first makes its namespaces, later
// ones join them. IDs are the host's choice (see CheckID), unique in use.
type Spawn struct {
	Container, Process string
	Spec               Process
}

// Spawned says that the process runs: exec has succeeded.
type Spawned struct {
	// PID is its number in the container, VMPID in the machine.
	PID, VMPID int
}

// Signal is sent to one process, or to all of a container if Process is empty.
type Signal struct {
	Container string
	Process   string `json:",omitempty"`
	Signo     int
}

// Resize tells a process's terminal its new size.
type Resize struct {
	Container, Process string
	Size               Size
}

// Freeze stops all of a container, or lets it go on with Thaw. The reply comes
// when that is done.
type Freeze struct {
	Container string
	Thaw      bool `json:",omitempty"`
}

// List asks for a container's processes.
type List struct {
	Container string
}

// Stats asks what a container uses.
type Stats struct {
	Container string
}

// Update changes a container's limits: only the fields that are set.
type Update struct {
	Container string
	Limits    Limits
}

// Delete kills what is left of a container and gives back what it holds.
type Delete struct {
	Container string
}

// Exited tells how a process ended.
type Exited struct {
	Container, Process string
	// Code is the exit status, 0 to 255, if Signal is 0.
	Code int
	// Signal is the signal that ended the process; Core: it dumped core.
	Signal int  `json:",omitempty"`
	Core   bool `json:",omitempty"`
	// OOMKilled says that the kernel killed a process of the container's for
	// want of memory.
	OOMKilled bool   `json:",omitempty"`
	Rusage    Rusage `json:",omitzero"`
	// Error says what went wrong after the end, in one line: the container's
	// root may not be whole on its disk.
	Error string `json:",omitempty"`
}

// signalBase is what a shell adds to a signal's number to make an exit status.
const signalBase = 128

// Status is the exit status as a shell has it: 128+N after signal N.
func (e *Exited) Status() int {
	if e.Signal != 0 {
		return signalBase + e.Signal
	}
	return e.Code
}

// Rusage is what a process and its waited-for children used (getrusage(2)).
type Rusage struct {
	UserMicros, SystemMicros int64 // CPU time
	MaxRSS                   int64 // bytes
}

// OOM says that the kernel killed processes of a container for want of memory;
// Kills counts them all.
type OOM struct {
	Container string
	Kills     int64
}
