// Command mvm-fsd serves folders of the host to one container's guest (package
// ninep). mvm starts it beside mvm-vmm, and it ends when that does: when the other
// end of its link is closed.
//
//	fd 0  what it is to be: a hostfs.Order
//	fd 3  the link: a pipe of which mvm-vmm has the other end
//	fd 4  to mvm-vmm: a sidecar.Word, and the end of this process
//	fd 5  the container's lock
//	fd 6  the first folder, by O_PATH; the others follow
//
// The guest's connections arrive at a Unix socket in its working directory, the
// container's folder.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostfs"
	"github.com/mvm-project/mvm/internal/ninep"
	"github.com/mvm-project/mvm/internal/seccomp"
	"github.com/mvm-project/mvm/internal/sidecar"
)

func main() { sidecar.Main("mvm-fsd", seccomp.Folders(), prepare) }

// prepare has the folders served, until the link ends.
func prepare() (serve func() error, err error) {
	ln, s, err := open()
	if err != nil {
		return nil, err
	}
	return func() error {
		go accept(ln, s) // ends with the process
		_, err := io.Copy(io.Discard, os.NewFile(sidecar.Link, "link"))
		return err
	}, nil
}

// open takes the folders and listens for the guest, with no more rights than that needs.
func open() (*net.UnixListener, *ninep.Server, error) {
	var order hostfs.Order
	if err := json.NewDecoder(os.Stdin).Decode(&order); err != nil {
		return nil, nil, fmt.Errorf("what to share: %w", err)
	}
	if len(order.Folders) == 0 {
		return nil, nil, errors.New("what to share: nothing (mvm starts mvm-fsd)")
	}
	_ = os.Remove(order.Socket) // that of one that was killed
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: order.Socket})
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the guest: %w", err)
	}
	ln.SetUnlinkOnClose(false) // the container's folder is out of reach then
	var shares []ninep.Share
	for i, f := range order.Folders {
		fd := sidecar.More + i
		syscall.CloseOnExec(fd)
		shares = append(shares, ninep.Share{FD: fd, ReadOnly: f.ReadOnly})
	}
	if err := confine(shares); err != nil {
		return nil, nil, err
	}
	files, err := raiseFiles()
	if err != nil {
		return nil, nil, err
	}
	s, err := ninep.New(shares, files)
	return ln, s, err
}

const (
	// maxFiles bounds what a guest may have open, and spareFiles are those besides.
	maxFiles   = 1 << 16
	spareFiles = 256
)

// raiseFiles has this process have as many files open as it may.
func raiseFiles() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("how many files may be open: %w", err)
	}
	limit.Cur = min(limit.Max, maxFiles+spareFiles)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise how many files may be open: %w", err)
	}
	return int(limit.Cur) - spareFiles, nil
}

// maxConns bounds the guest's connections: it makes one for each folder.
const maxConns = 64

// accept serves the guest's connections. One that breaks the protocol ends, and the
// guest sees errors of input and output.
func accept(ln *net.UnixListener, s *ninep.Server) {
	slots := make(chan struct{}, maxConns)
	for {
		slots <- struct{}{}
		c, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			_ = s.Serve(c)
			<-slots
		}()
	}
}
