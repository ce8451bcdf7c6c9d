package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/vmm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin starts the conversation of a container without a VM, whose guest's
// connections come to a socket.
func begin(t *testing.T) (*session, fakeGuest) {
	t.Helper()
	spec := control.Spec{
		VM:        vmm.Config{Vsock: filepath.Join(t.TempDir(), "vsock")},
		Container: proto.Container{ID: "c"},
		Process:   proto.Process{Args: []string{"true"}},
	}
	s, err := newSession(spec, newOutlet(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, fakeGuest{t, fmt.Sprintf("%s_%d", spec.VM.Vsock, proto.Port)}
}

// fakeGuest is the guest's side, as the vsock device brings it.
type fakeGuest struct {
	t    *testing.T
	path string
}

// open connects and says m first.
func (f fakeGuest) open(m proto.Message) net.Conn {
	f.t.Helper()
	c := f.connect()
	if err := proto.WriteMessage(c, m); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f fakeGuest) connect() net.Conn {
	f.t.Helper()
	c, err := net.Dial("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (f fakeGuest) hello() net.Conn {
	f.t.Helper()
	return f.open(proto.Message{Hello: &proto.Hello{Version: proto.Version}})
}

// TestDistrust has guests say what they may not, in a container that expects the
// streams of process 1 and has asked one thing.
func TestDistrust(t *testing.T) {
	stdout := proto.Message{Stream: &proto.Stream{Container: "c", Process: "1", Name: proto.Stdout}}
	huge := binary.LittleEndian.AppendUint32(nil, 1<<31)
	for name, test := range map[string]struct {
		say  func(f fakeGuest, s *session)
		want string
	}{
		"wrong version": {func(f fakeGuest, _ *session) {
			f.open(proto.Message{Hello: &proto.Hello{Version: proto.Version + 1}})
		}, "protocol version"},
		"hello twice": {func(f fakeGuest, s *session) {
			f.hello()
			<-s.hello
			f.hello()
		}, "Hello twice"},
		"huge first frame": {func(f fakeGuest, _ *session) { _, _ = f.connect().Write(huge) }, "at most"},
		"cut first frame": {func(f fakeGuest, _ *session) {
			c := f.connect()
			_, _ = c.Write([]byte{9, 0, 0, 0, '{'})
			_ = c.Close()
		}, "ends after 1"},
		"no JSON": {func(f fakeGuest, _ *session) { _, _ = f.connect().Write([]byte{2, 0, 0, 0, 'h', 'i'}) }, "first frame"},
		"neither": {func(f fakeGuest, _ *session) {
			f.open(proto.Message{Exited: &proto.Exited{}})
		}, "neither Hello nor Stream"},
		"stream of another container": {func(f fakeGuest, _ *session) {
			f.open(proto.Message{Stream: &proto.Stream{Container: "other", Process: "1", Name: proto.Stdout}})
		}, "not asked for"},
		"stream twice": {func(f fakeGuest, _ *session) {
			f.open(stdout)
			f.open(stdout)
		}, "not asked for"},
		"answer to nothing": {func(f fakeGuest, _ *session) {
			_ = proto.WriteMessage(f.hello(), proto.Message{Reply: &proto.Reply{ID: 77}})
		}, "request 77"},
		"answer twice": {func(f fakeGuest, s *session) {
			c := f.hello()
			<-s.hello
			answers, err := s.send(proto.Request{List: &proto.List{Container: "c"}})
			if err != nil {
				f.t.Error(err)
			}
			q, err := proto.ReadRequest(c)
			if err != nil {
				f.t.Error(err)
			}
			for range 2 {
				_ = proto.WriteMessage(c, proto.Message{Reply: &proto.Reply{ID: q.ID}})
			}
			<-answers[0]
		}, "which there is not"},
		"end of nothing": {func(f fakeGuest, _ *session) {
			_ = proto.WriteMessage(f.hello(), proto.Message{Exited: &proto.Exited{Container: "c", Process: "2"}})
		}, "does not run"},
		"end twice": {func(f fakeGuest, _ *session) {
			c := f.hello()
			for range 2 {
				_ = proto.WriteMessage(c, proto.Message{Exited: &proto.Exited{Container: "c", Process: "1"}})
			}
		}, "does not run"},
		"breaks off": {func(f fakeGuest, _ *session) { _ = f.hello().Close() }, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			s, guest := begin(t)
			s.add(firstProcess, s.out.streams(s.spec.Process, &s.open, nil))
			test.say(guest, s)
			if err := <-s.fail; !strings.Contains(err.Error(), test.want) {
				t.Errorf("distrusted for %q, not for %q", err, test.want)
			}
		})
	}
}

// A guest that gives up connecting, as Linux does where the host is slow, is trusted
// on: it tries again.
func TestGivesUpConnecting(t *testing.T) {
	s, guest := begin(t)
	for range 2 * maxStrangers {
		if err := guest.connect().Close(); err != nil {
			t.Fatal(err)
		}
	}
	guest.hello()
	select {
	case <-s.hello:
	case err := <-s.fail:
		t.Fatal(err)
	}
	if len(s.fail) > 0 {
		t.Error(<-s.fail)
	}
}

// TestConverse has a guest do what it is asked, and compares what the container's
// reader gets and how the container ended.
func TestConverse(t *testing.T) {
	s, guest := begin(t)
	reader, writer := net.Pipe()
	if err := s.out.add(&client{outputs: map[string]net.Conn{proto.Stdout: writer}, owner: true}); err != nil {
		t.Fatal(err)
	}
	defer s.out.removeAll()
	answered := make(chan error, 1)
	go func() { answered <- guest.oblige("out\n", 3) }() // ends with the conversation
	got := make(chan string, 1)
	go func() { // ends with the reader's four bytes
		b := make([]byte, 4)
		_, _ = io.ReadFull(reader, b)
		got <- string(b)
	}()
	pid := 0
	exit, err := s.converse(t.Context(), nil, func(sp proto.Spawned) { pid = sp.PID })
	if err != nil || exit.Code != 3 || pid != 42 {
		t.Errorf("exit %+v, PID %d, %v", exit, pid, err)
	}
	if out := <-got; out != "out\n" {
		t.Errorf("read %q", out)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// oblige is a whole container's life, as an honest guest has it.
func (f fakeGuest) oblige(out string, code int) error {
	c := f.hello()
	for range 3 {
		q, err := proto.ReadRequest(c)
		if err != nil {
			return err
		}
		r := &proto.Reply{ID: q.ID}
		if q.Spawn != nil {
			r.Spawned = &proto.Spawned{PID: 42}
			for _, name := range []string{proto.Stdout, proto.Stderr} {
				st := f.open(proto.Message{Stream: &proto.Stream{Container: "c", Process: q.Spawn.Process, Name: name}})
				if name == proto.Stdout {
					if _, err := io.WriteString(st, out); err != nil {
						return err
					}
				}
				_ = st.Close()
			}
		}
		if err := proto.WriteMessage(c, proto.Message{Reply: r}); err != nil {
			return err
		}
	}
	return proto.WriteMessage(c, proto.Message{Exited: &proto.Exited{Container: "c", Process: firstProcess, Code: code}})
}

// TestConverseEnds ends conversations from outside, at a guest that says nothing
// and at one that has said Hello and no more.
func TestConverseEnds(t *testing.T) {
	errVM, errCancelled := errors.New("the VM died"), errors.New("cancelled")
	for name, greet := range map[string]bool{"before hello": false, "after hello": true} {
		for _, want := range []error{errVM, errCancelled} {
			t.Run(name+"/"+want.Error(), func(t *testing.T) {
				s, guest := begin(t)
				if greet {
					guest.hello()
					<-s.hello
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				ended := make(chan error, 1)
				if errors.Is(want, errVM) {
					ended <- want
				} else {
					cancel(want)
				}
				_, err := s.converse(ctx, ended, func(proto.Spawned) {})
				if !errors.Is(err, want) {
					t.Errorf("%v, not %v", err, want)
				}
			})
		}
	}
}
