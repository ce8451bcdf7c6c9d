package container

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/control"
)

// Watch tells of changes in a running container's folder, until it ends.
type Watch struct {
	changes *os.File // an inotify instance
	ended   chan struct{}
	cancel  context.CancelFunc
}

// Watch begins to watch a running container.
func (c *Container) Watch(ctx context.Context) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch container %s: %w", c.Label(), err)
	}
	changes := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, c.dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		return nil, errors.Join(fmt.Errorf("watch container %s: %w", c.Label(), err), changes.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{changes: changes, ended: make(chan struct{}), cancel: cancel}
	go func() { // ends with the container, or with Close
		_, _ = c.say(ctx, control.Message{Wait: &control.Wait{}})
		close(w.ended)
		_ = changes.Close() // and so does Wait
	}()
	return w, nil
}

// Wait waits for a change; it returns false when the container has ended.
func (w *Watch) Wait(ctx context.Context) (bool, error) {
	_, err := w.changes.Read(make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, os.ErrClosed):
		return false, nil
	}
	return true, err
}

// Close ends the watch.
func (w *Watch) Close() {
	w.cancel()
	<-w.ended
}
