package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/hostnet"
)

// helper is the mvm-netd at the other end of the guest's network interface. It was
// started beside this process, and lives until no copy of the link is open.
type helper struct {
	link, word *os.File
	ready      chan struct{} // closed when err is there
	err        error         // why there is no network
	gone       chan struct{} // closed when mvm-netd has ended
}

func inheritHelper() *helper {
	unix.CloseOnExec(control.LinkFD)
	unix.CloseOnExec(control.HelperFD)
	return &helper{
		link: os.NewFile(control.LinkFD, "link"), word: os.NewFile(control.HelperFD, "mvm-netd"),
		ready: make(chan struct{}), gone: make(chan struct{}),
	}
}

// maxWord bounds what mvm-netd says, in bytes.
const maxWord = 4096

// errHelper ends a VM whose network is gone for good.
var errHelper = errors.New("the container's network is gone: its process mvm-netd was killed")

// watch hears what mvm-netd says, and stops the VM when it ends.
func (h *helper) watch(stop func(error)) {
	var r hostnet.Ready
	in := io.LimitReader(h.word, maxWord)
	err := json.NewDecoder(in).Decode(&r)
	switch {
	case err != nil:
		h.err = errHelper
	case r.Error != "":
		h.err = errors.New(r.Error)
	}
	close(h.ready)
	_, _ = io.Copy(io.Discard, h.word) // until its end
	close(h.gone)
	if h.err == nil {
		stop(errHelper)
	}
}

// await waits until the network is there.
func (h *helper) await(ctx context.Context) error {
	select {
	case <-h.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case h.err != nil:
		return fmt.Errorf("network: %w", h.err)
	case h.lost():
		return errHelper
	}
	return nil
}

// lost says that there is no network, and will be none.
func (h *helper) lost() bool {
	return closed(h.gone) || closed(h.ready) && h.err != nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// helperPatience is how long mvm-netd may take to end. It takes a millisecond.
const helperPatience = time.Second

// close ends mvm-netd: what it published on the host is free before anybody hears
// of the container's end.
func (h *helper) close() {
	h.link.Close()
	select {
	case <-h.gone:
	case <-time.After(helperPatience):
	}
}
