// Command mvm-netd is the far end of one container's network interface, on a
// network of kind user, and on a bridge the container's name server (package
// usernet). mvm starts it beside mvm-vmm, and it ends when that does: when the other
// end of its link is closed, or the TAP device gone.
//
//	fd 0  what it is to be: a hostnet.Network
//	fd 3  the link: a socket of which each message is a frame
//	fd 4  to mvm-vmm: a hostnet.Ready, and the end of this process
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/hostnet/usernet"
)

// statusFailed is mvm's exit status for its own failures.
const statusFailed = 125

func main() {
	debug.SetGCPercent(50) // it carries data, and keeps little
	// netstack logs what a guest makes it see, to the user's terminal. Its loggers
	// share this one from their beginning: a new one would not be theirs.
	log.Log().Emitter = log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGPIPE)
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "mvm-netd:", err)
		os.Exit(statusFailed)
	}
}

func serve() error {
	syscall.CloseOnExec(hostnet.HelperLink)
	syscall.CloseOnExec(hostnet.HelperReady)
	ready := os.NewFile(hostnet.HelperReady, "ready")
	n, readable, why := open()
	if why == nil {
		why = confine(readable...)
	}
	r := hostnet.Ready{}
	if why != nil {
		r.Error = why.Error()
	}
	if err := json.NewEncoder(ready).Encode(r); err != nil {
		return fmt.Errorf("tell mvm-vmm (mvm starts mvm-netd): %w", err)
	}
	if why != nil {
		os.Exit(statusFailed) // mvm says why
	}
	err := n.Serve()         // what is left ends with the process
	runtime.KeepAlive(ready) // mvm-vmm takes its end for that of the process
	return err
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
	f := os.NewFile(hostnet.HelperLink, "link")
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
	if err := unix.SetNonblock(hostnet.HelperLink, true); err != nil {
		return nil, fmt.Errorf("the link (mvm starts mvm-netd): %w", err)
	}
	// Opened while this is root, to be read by nobody: the folders above are root's.
	leases, err := os.OpenRoot(cfg.Joined.Leases)
	if err != nil {
		return nil, fmt.Errorf("the network's leases: %w", err)
	}
	return usernet.NewBridge(cfg, os.NewFile(hostnet.HelperLink, "link"), leases.FS())
}
