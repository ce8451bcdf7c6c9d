package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Event is something that happened to a container, as docker names it.
type Event struct {
	Time   time.Time
	Action string // create, start, die, pause, unpause, rename or destroy
	Container
	// Attributes are more about it: exitCode of die, as far as it is known, and
	// oldName of rename.
	Attributes map[string]string
}

// Events tells what happens to containers, until ctx is done: their state on disk
// is compared with what it was. What there is of it since a moment comes first;
// what happened to containers that are gone is not known any more.
func (s *Store) Events(ctx context.Context, since time.Time, tell func(Event) error) error {
	w, err := watchStore(s)
	if err != nil {
		return err
	}
	defer w.close()
	defer context.AfterFunc(ctx, w.close)()
	known := map[string]Container{}
	for first := true; first || ctx.Err() == nil; first = false {
		list, err := s.List()
		if err != nil {
			return err
		}
		now := map[string]Container{}
		for _, c := range list {
			now[c.ID] = c
			w.follow(c)
		}
		events := changes(known, now, time.Now())
		known = now
		for _, e := range events {
			if first && (since.IsZero() || e.Time.Before(since)) {
				continue
			}
			if err := tell(e); err != nil {
				return err
			}
		}
		if !w.wait() {
			break
		}
	}
	return context.Cause(ctx)
}

// changes are the events that make of one state of all containers another, in the
// order of their times.
func changes(before, after map[string]Container, now time.Time) []Event {
	var list []Event
	for id, c := range after {
		list = append(list, happened(before[id], c, now)...)
	}
	for id, c := range before {
		if _, there := after[id]; there {
			continue
		}
		if c.Up() { // its end was not seen
			list = append(list, Event{Time: now, Action: "die", Container: c})
		}
		list = append(list, Event{Time: now, Action: "destroy", Container: c})
	}
	slices.SortStableFunc(list, func(a, b Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// happened is what made of a container's state another; old is empty if there was
// none.
func happened(old, c Container, now time.Time) []Event {
	var list []Event
	add := func(at time.Time, action string, attributes ...string) {
		e := Event{Time: at, Action: action, Container: c, Attributes: map[string]string{}}
		for i := 0; i < len(attributes); i += 2 {
			e.Attributes[attributes[i]] = attributes[i+1]
		}
		list = append(list, e)
	}
	if old.ID == "" {
		add(c.Created, "create")
	} else if old.Name != c.Name {
		add(now, "rename", "oldName", old.Name)
	}
	if !c.Started.IsZero() && !c.Started.Equal(old.Started) {
		add(c.Started, "start")
	}
	switch {
	case c.Status == Paused && old.Status != Paused:
		add(now, "pause")
	case old.Status == Paused && c.Status == Running && c.Started.Equal(old.Started):
		add(now, "unpause")
	case c.Status == Exited && !c.Finished.Equal(old.Finished):
		add(c.Finished, "die", "exitCode", strconv.Itoa(c.Exit.Code))
	case c.Status == Lost && old.Status != Lost && !c.Finished.IsZero():
		add(c.Finished, "die", "exitCode", strconv.Itoa(codeFailed))
	case c.Status == Lost && old.Status != Lost:
		add(now, "die", "exitCode", strconv.Itoa(codeFailed))
	}
	return list
}

// storeWatch is woken by changes of containers' folders, and by the ends of their
// processes.
type storeWatch struct {
	store  *Store
	events *os.File // an inotify instance
	wake   chan struct{}
	done   chan struct{} // closed by close
	ended  chan struct{} // closed when events is read no more

	folders   map[string]bool
	processes map[Process]bool
}

func watchStore(s *Store) (*storeWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch containers: %w", err)
	}
	w := &storeWatch{
		store: s, events: os.NewFile(uintptr(fd), "inotify"), wake: make(chan struct{}, 1),
		done: make(chan struct{}), ended: make(chan struct{}), folders: map[string]bool{}, processes: map[Process]bool{},
	}
	if err := w.watch(s.path(containersDir), unix.IN_CREATE|unix.IN_DELETE); err != nil {
		return nil, errors.Join(err, w.events.Close())
	}
	go w.read() // ends with close
	return w, nil
}

func (w *storeWatch) watch(path string, what uint32) error {
	var watchErr error
	raw, err := w.events.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _, watchErr = unix.InotifyAddWatch(int(fd), path, what) })
	}
	if err := errors.Join(err, watchErr); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	return nil
}

func (w *storeWatch) read() {
	defer close(w.ended)
	buf := make([]byte, 64<<10)
	for {
		if _, err := w.events.Read(buf); err != nil {
			return
		}
		w.ring()
	}
}

func (w *storeWatch) ring() {
	select {
	case w.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// follow has a container's changes wake the watch too. One that has gone has
// rung already.
func (w *storeWatch) follow(c Container) {
	dir := w.store.path(containersDir, c.ID)
	if !w.folders[c.ID] && w.watch(dir, unix.IN_MOVED_TO) == nil {
		w.folders[c.ID] = true
		w.ring() // it may have changed before
	}
	if c.Up() && !w.processes[c.VMM] {
		w.processes[c.VMM] = true
		go func() { // ends with the process, or with close
			c.VMM.wait(w.done)
			w.ring()
		}()
	}
}

// wait waits for a change; it returns false after close.
func (w *storeWatch) wait() bool {
	select {
	case <-w.wake:
		return true
	case <-w.ended:
		return false
	}
}

// close ends the watch; a second one does nothing.
func (w *storeWatch) close() {
	if w.events.Close() == nil {
		close(w.done)
	}
}

// wait returns when the process has ended, or when done is closed.
func (p Process) wait(done <-chan struct{}) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return // it has ended
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if !p.Alive() {
		return
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with wait
		select {
		case <-done:
			_ = f.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { // a pidfd can be read from, for poll(2), once the process has ended
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}
