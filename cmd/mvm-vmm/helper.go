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

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/sidecar"
)

// helper is a process that serves the guest: the mvm-netd at the other end of its
// network interface, or the mvm-fsd that has its folders. It was started beside this
// process, and lives until no copy of the link is open.
type helper struct {
	what       string // it is to the container
	link, word *os.File
	ready      chan struct{} // closed when err is there
	err        error         // why it cannot serve
	gone       chan struct{} // closed when it has ended
}

// inheritHelpers are those that a container needs.
func inheritHelpers(s control.Spec) []*helper {
	var helpers []*helper
	if s.Linked() {
		helpers = append(helpers, inheritHelper("network", container.NetProgram, control.LinkFD, control.HelperFD))
	}
	if s.Shares() {
		helpers = append(helpers, inheritHelper("shared folders", container.FoldersProgram, control.FoldersLinkFD, control.FoldersFD))
	}
	return helpers
}

func inheritHelper(what, program string, link, word int) *helper {
	unix.CloseOnExec(link)
	unix.CloseOnExec(word)
	return &helper{
		what: what, link: os.NewFile(uintptr(link), "link"), word: os.NewFile(uintptr(word), program),
		ready: make(chan struct{}), gone: make(chan struct{}),
	}
}

// maxWord bounds what a helper says, in bytes.
const maxWord = 4096

// failed says what does not work, and why.
func (h *helper) failed(err error) error { return fmt.Errorf("%s: %w", h.what, err) }

// killed is why there is nothing any more.
func (h *helper) killed() error {
	return fmt.Errorf("gone: the container's process %s was killed", h.word.Name())
}

// watch hears what the helper says, and stops the VM when it ends.
func (h *helper) watch(stop func(error)) {
	var r sidecar.Word
	in := io.LimitReader(h.word, maxWord)
	err := json.NewDecoder(in).Decode(&r)
	switch {
	case err != nil:
		h.err = h.killed()
	case r.Error != "":
		h.err = errors.New(r.Error)
	}
	close(h.ready)
	_, _ = io.Copy(io.Discard, h.word) // until its end
	close(h.gone)
	if h.err == nil {
		stop(h.failed(h.killed()))
	}
}

// await waits until the helper serves.
func (h *helper) await(ctx context.Context) error {
	select {
	case <-h.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case h.err != nil:
		return h.failed(h.err)
	case h.lost():
		return h.failed(h.killed())
	}
	return nil
}

// lost says that it does not serve, and will not.
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

// helperPatience is how long a helper may take to end. It takes a millisecond.
const helperPatience = time.Second

// close ends the helper: what it has of the host's is free before anybody hears of
// the container's end.
func (h *helper) close() {
	h.link.Close()
	select {
	case <-h.gone:
	case <-time.After(helperPatience):
	}
}
