package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mvm-project/mvm/devices/legacy"
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/vmm"
)

// patience bounds every wait for the guest: an emulated host is slow.
const patience = 60 * time.Second

// host is a test's end of the protocol, with a microVM of its own. It is as
// trusting as a test may be.
type host struct {
	t       *testing.T
	control net.Conn
	console *legacy.Tail

	lastID  uint64
	replies chan proto.Reply
	exits   chan proto.Exited
	ooms    chan proto.OOM
	streams chan stream
	parked  map[proto.Stream]net.Conn // streams that came before they were asked for
	exited  map[string]proto.Exited   // the same for ends, by container/process
}

type stream struct {
	proto.Stream
	conn net.Conn
}

// boot starts a microVM of the files beside this program and sets it up.
func boot(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "vsock")
	ln, err := net.Listen("unix", fmt.Sprintf("%s_%d", socket, proto.Port))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{
		t: t, console: legacy.NewTail(4096), replies: make(chan proto.Reply, 100), exits: make(chan proto.Exited, 100),
		ooms: make(chan proto.OOM, 100), streams: make(chan stream, 100),
		parked: map[proto.Stream]net.Conn{}, exited: map[string]proto.Exited{},
	}
	vm, err := vmm.New(vmm.Config{
		Kernel: here(t, "vmlinux"), Initrd: here(t, "initramfs.cpio"), VCPUs: 1, Memory: 256 << 20, Vsock: socket,
		Args:  strings.Fields(os.Getenv("MVM_KERNEL_ARGS")),
		Disks: []vmm.Disk{{Path: here(t, "image.ext4"), ReadOnly: true}},
	}, h.console)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GOMAXPROCS(vm.Procs())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- vm.Run(ctx) }() // ends by cancel
	hello := make(chan net.Conn, 1)
	go h.accept(ln, hello) // ends when ln closes
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the microVM ended: %v\n%s", err, h.console)
		}
		_ = ln.Close()
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("console: %s", h.console)
		}
	})
	h.control = take(h, "Hello", hello)
	go h.receive() // ends with the connection
	h.ok(proto.Request{Setup: &proto.Setup{Seed: make([]byte, 64), Time: time.Now().UnixNano()}})
	return h
}

func here(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: this test runs on the virtual KVM host, as a part of e2e", err)
	}
	return path
}

func (h *host) accept(ln net.Listener, hello chan<- net.Conn) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		m, err := proto.ReadMessage(c)
		switch {
		case err != nil:
			h.t.Errorf("first frame: %v", err)
		case m.Hello != nil:
			hello <- c
		case m.Stream != nil:
			h.streams <- stream{*m.Stream, c}
		default:
			h.t.Errorf("first frame: %+v", m)
		}
	}
}

func (h *host) receive() {
	for {
		m, err := proto.ReadMessage(h.control)
		if err != nil {
			return
		}
		switch {
		case m.Reply != nil:
			h.replies <- *m.Reply
		case m.Exited != nil:
			h.exits <- *m.Exited
		case m.OOM != nil:
			h.ooms <- *m.OOM
		}
	}
}

// take waits for one of what a channel brings.
func take[T any](h *host, what string, from <-chan T) T {
	h.t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		h.t.Fatalf("no %s within %v; console: %s", what, patience, h.console)
	}
	panic("not reached")
}

// ask sends one request and waits for its reply.
func (h *host) ask(q proto.Request) proto.Reply {
	h.t.Helper()
	h.lastID++
	q.ID = h.lastID
	if err := proto.WriteRequests(h.control, q); err != nil {
		h.t.Fatal(err)
	}
	r := take(h, "reply", h.replies)
	if r.ID != q.ID {
		h.t.Fatalf("reply to %d: %+v", q.ID, r)
	}
	return r
}

// ok asks for what has to be done.
func (h *host) ok(q proto.Request) proto.Reply {
	h.t.Helper()
	r := h.ask(q)
	if r.Error != nil {
		h.t.Fatalf("%+v", *r.Error)
	}
	return r
}

// refused asks for what has to be refused with a code.
func (h *host) refused(code proto.Code, q proto.Request) proto.Error {
	h.t.Helper()
	r := h.ask(q)
	if r.Error == nil || r.Error.Code != code || r.Error.Text == "" {
		h.t.Fatalf("reply %+v, error %+v; want code %s", r, r.Error, code)
	}
	return *r.Error
}

// create makes a container of the test image.
func (h *host) create(id string, change func(*proto.Container)) {
	h.t.Helper()
	c := proto.Container{ID: id, Hostname: id, Root: proto.Root{Image: "/dev/vda", ImageFS: "ext4"}}
	if change != nil {
		change(&c)
	}
	h.ok(proto.Request{Create: &proto.Create{Container: c}})
}

func (h *host) spawn(container, process string, p proto.Process) {
	h.t.Helper()
	r := h.ok(proto.Request{Spawn: &proto.Spawn{Container: container, Process: process, Spec: p}})
	if r.Spawned == nil {
		h.t.Fatalf("reply %+v", r)
	}
}

// shell is a process that runs a script.
func shell(script string) proto.Process {
	return proto.Process{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}}
}

// stream waits for one of a process's streams.
func (h *host) stream(container, process, name string) net.Conn {
	h.t.Helper()
	want := proto.Stream{Container: container, Process: process, Name: name}
	for h.parked[want] == nil {
		s := take(h, "stream "+name, h.streams)
		h.parked[s.Stream] = s.conn
	}
	c := h.parked[want]
	delete(h.parked, want)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// wait waits for a process's end.
func (h *host) wait(container, process string) proto.Exited {
	h.t.Helper()
	key := container + "/" + process
	for {
		if e, ok := h.exited[key]; ok {
			delete(h.exited, key)
			return e
		}
		e := take(h, "end of "+key, h.exits)
		if e.Error != "" {
			h.t.Errorf("%s: %s", key, e.Error)
		}
		h.exited[e.Container+"/"+e.Process] = e
	}
}

// run runs a process to its end and returns what it wrote and how it ended.
func (h *host) run(container, process string, p proto.Process) (out, errs string, e proto.Exited) {
	h.t.Helper()
	h.spawn(container, process, p)
	if p.TTY != nil {
		out = h.all(container, process, proto.TTY)
		return out, "", h.wait(container, process)
	}
	out, errs = h.all(container, process, proto.Stdout), h.all(container, process, proto.Stderr)
	return out, errs, h.wait(container, process)
}

// all reads a stream to its end.
func (h *host) all(container, process, name string) string {
	h.t.Helper()
	c := h.stream(container, process, name)
	defer func() { _ = c.Close() }()
	b, err := io.ReadAll(c)
	if err != nil {
		h.t.Fatalf("%s of %s: %v after %q", name, process, err, b)
	}
	return string(b)
}

// line reads up to the end of a line.
func (h *host) line(c net.Conn) string {
	h.t.Helper()
	var text []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			h.t.Fatalf("%v after %q", err, text)
		}
		if b[0] == '\n' {
			return string(text)
		}
		text = append(text, b[0])
	}
}
