package proto

// Process is a process to be started in a container, as the OCI image
// specification and docker's command line mean it.
type Process struct {
	Args []string
	Env  []string
	// Cwd is created if it is missing; empty means "/".
	Cwd string `json:",omitempty"`
	// User is user[:group], each a name (looked up in the image's /etc/passwd
	// and /etc/group) or a number; empty means 0:0.
	User string `json:",omitempty"`
	// Groups are supplementary ones, names or numbers, besides /etc/group's.
	Groups []string `json:",omitempty"`
	// Stdin says whether the host will send a stdin stream; else it is /dev/null.
	Stdin bool `json:",omitempty"`
	// Detach leaves out all streams: stdin, stdout and stderr are /dev/null.
	Detach bool `json:",omitempty"`
	// TTY gives the process a terminal of that size, with one stream both ways.
	TTY *Size `json:",omitempty"`
	// Capabilities are all it can ever have, as in capabilities(7) ("CAP_CHOWN");
	// nil: DefaultCapabilities; none is a list without any.
	Capabilities []string `json:",omitzero"`
	// AllCapabilities is all that the kernel knows.
	AllCapabilities bool `json:",omitempty"`
	// NoNewPrivs keeps setuid programs from giving more.
	NoNewPrivs bool     `json:",omitempty"`
	Rlimits    []Rlimit `json:",omitempty"`
	// Unconfined leaves out the seccomp filter, which refuses what docker's
	// default profile refuses.
	Unconfined bool `json:",omitempty"`
	// Umask is the file mode creation mask; nil: 0022.
	Umask *uint32 `json:",omitempty"`
	// OOMScoreAdj is -1000 to 1000: how ready the kernel is to kill the process.
	OOMScoreAdj int `json:",omitempty"`
	// Nice is -20 to 19, as in setpriority(2).
	Nice int `json:",omitempty"`
	// Init runs it as the child of an init that passes signals on and reaps
	// orphans.
	Init bool `json:",omitempty"`
	// Archive, if set, is what is done in place of Args and the rest.
	Archive *Archive `json:",omitempty"`
}

// Size is a terminal's, in characters.
type Size struct {
	Rows, Cols uint16
}

// Rlimit is a resource limit by setrlimit(2)'s name in lower case without
// RLIMIT_ ("nofile"). RlimitInfinity is no limit.
type Rlimit struct {
	Name       string
	Soft, Hard uint64
}

// RlimitInfinity is RLIM_INFINITY.
const RlimitInfinity = ^uint64(0)

// DefaultCapabilities are those that docker gives a container.
func DefaultCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
		"CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP",
		"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// Archive is a process of guestinit's own that copies files, as root. Links are
// followed within the container's root. What fails is a line on stderr, and exit
// status 1, or 2 if it is for want of a file.
type Archive struct {
	// Do is Pack: Path, and all below it, as a tar on stdout whose names begin
	// with the last element of Path; Unpack: a tar on stdin into the folder Path;
	// Stat: one PathStat as JSON on stdout; or Hold: nothing, until it is killed,
	// which keeps a container for others.
	Do   string
	Path string
	// Follow means what a link at Path points to, not the link.
	Follow bool `json:",omitempty"`
	// KeepOwner unpacks with the tar's numeric owners, not as root's.
	KeepOwner bool `json:",omitempty"`
}

// What Archive does.
const (
	Pack   = "pack"
	Unpack = "unpack"
	Stat   = "stat"
	Hold   = "hold"
)

// PathStat describes a file in a container.
type PathStat struct {
	Name   string // the last element of the path
	Mode   uint32 // st_mode of stat(2)
	Size   int64
	Mtime  int64  // nanoseconds since the Unix epoch
	Target string `json:",omitempty"` // of a link: absolute, in the container
}

// Processes answers List.
type Processes struct {
	List []ProcessInfo
	// Truncated says that there were more than fit.
	Truncated bool `json:",omitempty"`
}

// ProcessInfo is one process of a container as proc(5) shows it.
type ProcessInfo struct {
	// PID and PPID are numbers in the container; PPID is 0 for one whose parent
	// is outside. VMPID is the machine's number.
	PID, PPID, VMPID int
	// ID is the host's name for it, if the host spawned it.
	ID string `json:",omitempty"`
	// State is R, S, D, T, t, Z, X or I.
	State string
	UID   uint32
	// TTY is the terminal's device number, 0 for none.
	TTY     uint32
	Nice    int
	Threads int
	// CPUMicros is CPU time used; RSS is memory in bytes; Started is when, in
	// nanoseconds since the Unix epoch.
	CPUMicros, RSS, Started int64
	// Command is the arguments with spaces between, or the name in brackets.
	Command string
}
