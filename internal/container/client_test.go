package container

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// endedTalk is a conversation whose process has ended with status 3, and the far end of
// its stdout.
func endedTalk(t *testing.T) (*talk, *os.File) {
	t.Helper()
	t.Chdir(t.TempDir())
	ln, err := control.Listen()
	must(t, err)
	defer func() { _ = ln.Close() }()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	near, far := os.NewFile(uintptr(fds[0]), "stdout"), os.NewFile(uintptr(fds[1]), "stdout")
	said := make(chan error, 1)
	go func() { // ends with what it has to say
		conn, err := ln.Accept()
		if err == nil {
			err = conn.Send(control.Message{Hello: &control.Hello{Version: control.Version}})
		}
		if err == nil {
			err = conn.Send(control.Message{Started: &control.Started{Streams: []string{proto.Stdout}}}, far)
		}
		if err == nil {
			err = conn.Send(control.Message{Exit: &control.Exit{Code: 3}})
		}
		if err == nil {
			err = conn.Close()
		}
		said <- err
	}()
	conn, err := control.Dial(".")
	must(t, err)
	must(t, <-said)
	must(t, far.Close())
	talk := newTalk(conn)
	t.Cleanup(talk.close)
	return talk, near
}

// writerFunc is a writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Output that comes after the end of its process, and of mvm-vmm, is not lost.
func TestOutputAfterEnd(t *testing.T) {
	talk, stdout := endedTalk(t)
	sent := bytes.Repeat([]byte("x"), 1<<20)
	go func() { // ends when all is read
		_, _ = stdout.Write(sent)
		_ = stdout.Close()
	}()
	var got bytes.Buffer
	exit, err := (&Container{}).converse(t.Context(), talk, Client{Stdout: &got}, false)
	if err != nil || exit.Code != 3 || !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("%+v, %v, %d bytes of %d", exit, err, got.Len(), len(sent))
	}
}

// The user need not wait for output that does not end.
func TestGivenUpAfterEnd(t *testing.T) {
	talk, stdout := endedTalk(t)
	defer func() { _ = stdout.Close() }()
	signals := make(chan os.Signal, 2)
	_, err := stdout.WriteString("more")
	must(t, err)
	exit, err := (&Container{}).converse(t.Context(), talk, Client{Signals: signals, Stdout: writerFunc(func(p []byte) (int, error) {
		signals <- syscall.SIGINT
		signals <- syscall.SIGINT
		return len(p), nil
	})}, false)
	if err != nil || exit.Code != codeInterrupted {
		t.Errorf("%+v, %v", exit, err)
	}
}
