package hostnet

// File descriptors of mvm-netd besides the standard ones.
const (
	HelperLink  = 3 // the container's interface: a message is a frame
	HelperReady = 4 // where it tells whether it is ready
)

// Ready is mvm-netd's one word, as JSON: that the network is there, or why not.
type Ready struct {
	Error string `json:",omitempty"`
}
