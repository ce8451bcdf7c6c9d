package container

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// Find returns the container that ref names: a name, an ID, or the beginning of
// an ID.
func (s *Store) Find(ref string) (Container, error) {
	id, err := s.find(ref)
	if err != nil {
		return Container{}, err
	}
	c, err := read(s.path(containersDir, id))
	if err != nil {
		return Container{}, fmt.Errorf("container %s: %w", ref, err)
	}
	return c, nil
}

// Log is the path of its log.
func (c *Container) Log() string { return filepath.Join(c.dir, LogFile) }

// Label is how users call it: by its name, or else its ID.
func (c *Container) Label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// errNotRunning is in the error of what only a running container can do.
var errNotRunning = errors.New("is not running")

// comingUp is how long a mvm-vmm may take to listen after its container is noted
// as running.
const comingUp = 5 * time.Second

// dial connects to a container's mvm-vmm. ctx bounds the conversation too.
func (c *Container) dial(ctx context.Context) (*talk, error) {
	for deadline := time.Now().Add(comingUp); ; {
		now, err := read(c.dir)
		if err != nil || !now.Up() && !c.visited {
			return nil, fmt.Errorf("container %s %w: see mvm ps -a, start it with mvm start", c.Label(), errNotRunning)
		}
		conn, err := control.Dial(c.dir)
		if err == nil {
			t := newTalk(conn)
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			return t, nil
		}
		again := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
		if !again || time.Now().After(deadline) {
			return nil, fmt.Errorf("container %s: %w", c.Label(), err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockRetry):
		}
	}
}

// say sends one message to a container's mvm-vmm and returns its answer.
func (c *Container) say(ctx context.Context, m control.Message) (control.Message, error) {
	t, err := c.dial(ctx)
	if err != nil {
		return control.Message{}, err
	}
	defer t.close()
	if err := t.tell(m); err != nil {
		return control.Message{}, err
	}
	answer, open := <-t.messages
	switch {
	case ctx.Err() != nil:
		return control.Message{}, context.Cause(ctx)
	case !open:
		return control.Message{}, fmt.Errorf("container %s: its microVM is gone: see mvm ps -a", c.Label())
	case answer.Done != nil && answer.Done.Error != "":
		return control.Message{}, fmt.Errorf("container %s: %s", c.Label(), printable(answer.Done.Error))
	case answer.Reply != nil && answer.Reply.Error != nil:
		return control.Message{}, fmt.Errorf("container %s: %s", c.Label(), printable(answer.Reply.Error.Text))
	}
	return answer.Message, nil
}

// Signal sends a signal to its process.
func (c *Container) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := c.say(ctx, control.Message{Signal: &control.Signal{Signo: int(sig)}})
	return err
}

// Stop ends it with sig, or with its own stop signal if that is 0, and kills it
// after patience. One that does not run is no error.
func (c *Container) Stop(ctx context.Context, sig syscall.Signal, patience time.Duration) error {
	st := control.Stop{Signo: int(sig), Patience: patience}
	if sig == 0 {
		st.Signo = c.StopSignal
	}
	if st.Signo == 0 {
		st.Signo = int(syscall.SIGTERM)
	}
	_, err := c.say(ctx, control.Message{Stop: &st})
	if errors.Is(err, errNotRunning) {
		return nil
	}
	if now, e := read(c.dir); err != nil && e == nil && !now.Up() {
		return nil // it ended otherwise
	}
	return err
}

// Wait waits until it has ended, and says how.
func (c *Container) Wait(ctx context.Context) (control.Exit, error) {
	m, err := c.say(ctx, control.Message{Wait: &control.Wait{}})
	switch {
	case ctx.Err() != nil:
		return control.Exit{}, context.Cause(ctx)
	case err == nil && m.Exit != nil:
		return checked(*m.Exit), nil
	case err == nil && m.Failed != nil:
		return control.Exit{Code: codeFailed}, failure(*m.Failed)
	}
	now, err := read(c.dir)
	switch {
	case err != nil:
		return control.Exit{}, err
	case now.Up():
		return control.Exit{}, fmt.Errorf("container %s: its mvm-vmm does not answer", c.Label())
	case now.Status == Lost:
		return control.Exit{Code: codeFailed}, nil
	}
	return now.Exit, nil
}

// Ask asks the guest: Freeze, List, Stats or Update.
func (c *Container) Ask(ctx context.Context, r proto.Request) (proto.Reply, error) {
	m, err := c.say(ctx, control.Message{Ask: &r})
	if err != nil {
		return proto.Reply{}, err
	}
	if m.Reply == nil {
		return proto.Reply{}, fmt.Errorf("container %s: its mvm-vmm did not answer the question", c.Label())
	}
	return *m.Reply, nil
}
