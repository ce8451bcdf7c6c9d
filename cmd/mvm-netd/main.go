// Command mvm-netd is the far end of one container's network interface, on a
// network of kind user, and on a bridge the container's name server (package
// usernet). mvm starts it beside mvm-vmm, and it ends when that does: when the other
// end of its link is closed, or the TAP device gone.
//
//	fd 0  what it is to be: a hostnet.Network
//	fd 3  the link: a socket of which each message is a frame
//	fd 4  to mvm-vmm: a sidecar.Word, and the end of this process
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/hostnet/usernet"
	"github.com/mvm-project/mvm/internal/seccomp"
	"github.com/mvm-project/mvm/internal/sidecar"
)

func main() {
	// netstack logs what a guest makes it see, to the user's terminal. Its loggers
	// share this one from their beginning: a new one would not be theirs.
	log.Log().Emitter = log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}}
	sidecar.Main("mvm-netd", seccomp.Network(), prepare)
}

// prepare makes the network, which serves until the link ends.
func prepare() (serve func() error, err error) {
	n, readable, err := open()
	if err == nil {
		err = confine(readable...)
	}
	if err != nil {
		return nil, err
	}
	return n.Serve, nil
}

// open makes the network, with the ports it publishes, and says which folders it
// reads.
func open() (n *usernet.Network, readable []string, err error) {
	var cfg hostnet.Network
	if err := json.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
		return nil, nil, fmt.Errorf("what network to be: %w", err)
	}
	if cfg.Kind == hostnet.Bridge {
		n, err = openBridge(cfg)
		return n, []string{cfg.Joined.Leases}, err
	}
	f := os.NewFile(sidecar.Link, "link")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("the link (mvm starts mvm-netd): %w", err)
	}
	link, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("the link is no Unix socket (mvm starts mvm-netd)")
	}
	n, err = usernet.New(cfg, link)
	return n, nil, err
}

// openBridge makes what a container on a bridge needs. The link is a packet socket.
func openBridge(cfg hostnet.Network) (*usernet.Network, error) {
	if err := unix.SetNonblock(sidecar.Link, true); err != nil {
		return nil, fmt.Errorf("the link (mvm starts mvm-netd): %w", err)
	}
	// Opened while this is root, to be read by nobody: the folders above are root's.
	leases, err := os.OpenRoot(cfg.Joined.Leases)
	if err != nil {
		return nil, fmt.Errorf("the network's leases: %w", err)
	}
	return usernet.NewBridge(cfg, os.NewFile(sidecar.Link, "link"), leases.FS())
}
