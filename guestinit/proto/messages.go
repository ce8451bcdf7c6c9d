// Package proto is the language that guestinit (PID 1 of the microVM) and the
// host speak over vsock.
//
// The guest opens every connection, to the host (CID 2) on Port. The first
// frame tells what the connection is for:
//
//	guest                                   host
//	  | -- connect :Port  Hello{Version} ---> |   control connection
//	  | <------------- Start{Container} ----- |
//	  | -- connect :Port  Stream{stdin} ----> |   then raw bytes, host to guest
//	  | -- connect :Port  Stream{stdout} ---> |   then raw bytes, guest to host
//	  | -- connect :Port  Stream{stderr} ---> |   then raw bytes, guest to host
//	  | -- Started{PID} --------------------> |   or Exit{Error}: nothing ran
//	  | <------------- Signal{Signo} -------- |   any number of times
//	  | -- Exit{Code | Signal} -------------> |   after stdout and stderr ended
//	  | <------------- closes --------------- |   when they have been written
//	  | resets the machine                    |
//
// A frame is a 4-byte little-endian length, at most MaxFrame, and that many
// bytes of JSON: an object with one field, named for the message. Half-close of
// a stream is vsock's own shutdown; back-pressure is vsock's credit.
package proto

// Version is the protocol's version; host and guest must have the same one.
const Version = 1

// Port is the host's vsock port for every connection.
const Port = 1024

// MaxFrame bounds the JSON of one frame, in bytes.
const MaxFrame = 4 << 20

// Message is one frame: exactly one field is set.
type Message struct {
	Hello   *Hello   `json:",omitempty"`
	Stream  *Stream  `json:",omitempty"`
	Start   *Start   `json:",omitempty"`
	Started *Started `json:",omitempty"`
	Signal  *Signal  `json:",omitempty"`
	Exit    *Exit    `json:",omitempty"`
}

// Hello is the guest's first frame of the control connection.
type Hello struct {
	Version int
}

// Names of a process's streams.
const (
	Stdin  = "stdin"
	Stdout = "stdout"
	Stderr = "stderr"
)

// Stream is the guest's first frame of a connection that carries one of the
// container's streams; raw bytes follow it.
type Stream struct {
	Container string // Start.Container.ID
	Name      string // Stdin, Stdout or Stderr
}

// Start tells the guest to set the machine up and to start the container.
type Start struct {
	Container Container
	// Seed is entropy for the guest's RNG, 32 bytes or more.
	Seed []byte
	// Time is the host's wall clock, nanoseconds since the Unix epoch.
	Time int64
}

// Container is what runs: a root file system and one process in it.
type Container struct {
	ID       string
	Hostname string
	Root     Root
	Process  Process
	// Tmpfs are tmpfs mounts: path -> mount options as in tmpfs(5) ("size=64m").
	Tmpfs map[string]string `json:",omitempty"`
	// CPUMicros bounds CPU time: millionths of one CPU's time; 0: no bound.
	CPUMicros int64 `json:",omitempty"`
}

// Root says which disks make the container's root.
type Root struct {
	// Image is the block device of the read-only image ("/dev/vda"), ImageFS its
	// file system ("erofs" or "ext4").
	Image, ImageFS string
	// Layer is the block device of the writable ext4 layer ("/dev/vdb"); empty:
	// the writable layer is a tmpfs.
	Layer string `json:",omitempty"`
	// Discard says that Layer is thrown away afterwards and need not be clean.
	Discard bool `json:",omitempty"`
	// ReadOnly mounts the root read-only (and leaves Layer unused).
	ReadOnly bool `json:",omitempty"`
}

// Process is the container's first process, as the OCI image specification and
// docker's command line mean it.
type Process struct {
	Args []string
	Env  []string
	// Cwd is created if it is missing; empty means "/".
	Cwd string `json:",omitempty"`
	// User is user[:group], each a name (looked up in the image's /etc/passwd
	// and /etc/group) or a number; empty means 0:0.
	User string `json:",omitempty"`
	// Stdin says whether the host will send a stdin stream; else it is /dev/null.
	Stdin bool `json:",omitempty"`
}

// Started says that the process runs; PID is its number in the guest.
type Started struct {
	PID int
}

// Signal is sent to the container's first process.
type Signal struct {
	Signo int
}

// Exit is the guest's last frame: how the process ended, or why it never began.
type Exit struct {
	// Code is the exit status; with Signal set it is 128+Signal; with Error set
	// it is 126 (not executable), 127 (not found) or 125 (the guest failed).
	Code int
	// Signal is the signal that ended the process, 0 if none did.
	Signal int `json:",omitempty"`
	// Error is one line saying why the process could not be started.
	Error string `json:",omitempty"`
}
