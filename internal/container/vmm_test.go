package container

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvm-project/mvm/internal/control"
)

// actVMM is the process at the far end of the control connection, for what a
// real mvm-vmm cannot be made to do at a given moment. What it does is the
// container's command, a word at a time.
func actVMM() {
	conn, err := control.Inherited()
	if err != nil {
		panic(err)
	}
	m, err := conn.Receive()
	if err != nil || m.Start == nil {
		os.Exit(9)
	}
	if m.Start.Visit {
		actVisit(conn, m.Start.Spec.Container.Hostname)
		endNow()
	}
	if slices.Equal(m.Start.Spec.Process.Args, []string{"serve"}) {
		actServe(conn, *m.Start)
		return
	}
	for _, word := range m.Start.Spec.Process.Args {
		if !act(conn, word) {
			return
		}
	}
}

// actVisit is a mvm-vmm that keeps a container until it is killed; or fails, if it is
// told so.
func actVisit(conn *control.Conn, how string) {
	if how == "fails" {
		_ = conn.Send(control.Message{Failed: &control.Failed{Error: "no memory"}})
		return
	}
	_ = conn.Send(control.Message{Started: &control.Started{}})
	if m, err := conn.Receive(); err == nil && m.Signal != nil && m.Signal.Signo == int(syscall.SIGKILL) {
		_ = conn.Send(control.Message{Exit: &control.Exit{Code: 137}})
	}
}

// actServe is a mvm-vmm that answers every Exec, until it is deserted or a helper ends.
func actServe(conn *control.Conn, st control.Start) {
	ln, err := control.Listen()
	if err != nil {
		panic(err)
	}
	over := make(chan string, 3)
	for fd, there := range map[uintptr]bool{control.HelperFD: st.Spec.Linked(), control.FoldersFD: st.Spec.Shares()} {
		if there {
			go func() {
				_, _ = io.Copy(io.Discard, os.NewFile(fd, "helper"))
				over <- "a helper was killed"
			}()
		}
	}
	go func() {
		_, _ = conn.Receive()
		if !st.Detached {
			over <- "deserted"
		}
	}()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				panic(err)
			}
			_ = c.Send(control.Message{Hello: &control.Hello{Version: control.Version}})
			if m, err := c.Receive(); err == nil && m.Exec != nil {
				_ = c.Send(control.Message{Exit: &control.Exit{}})
			}
			_ = c.Close()
		}
	}()
	_ = conn.Send(control.Message{Started: &control.Started{}})
	say(conn, control.Message{Failed: &control.Failed{Error: <-over}})
	endNow()
}

// endNow ends this process without the second that the race detector takes for it.
func endNow() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// say notes an end as mvm-vmm does, and tells it.
func say(conn *control.Conn, m control.Message) {
	if err := Ended(".", m); err != nil {
		panic(err)
	}
	_ = conn.Send(m)
}

// act does one word, and says whether to go on.
func act(conn *control.Conn, word string) bool {
	verb, arg, _ := strings.Cut(word, "=")
	switch verb {
	case "start":
		return conn.Send(control.Message{Started: &control.Started{PID: 2}}) == nil
	case "exit": // exit=CODE
		var e control.Exit
		_, _ = fmt.Sscan(arg, &e.Code)
		say(conn, control.Message{Exit: &e})
		return false
	case "fail": // fail=ERROR|CONSOLE
		text, console, _ := strings.Cut(arg, "|")
		say(conn, control.Message{Failed: &control.Failed{Error: text, Console: console}})
		return false
	case "notfound":
		say(conn, control.Message{Exit: &control.Exit{Code: 127, Error: "exec: no such program\x1b[2J"}})
		return false
	case "signal": // waits for a signal, and exits with 128+N
		m, err := conn.Receive()
		if err == nil && m.Signal != nil {
			say(conn, control.Message{Exit: &control.Exit{Code: 128 + m.Signal.Signo, Signal: m.Signal.Signo}})
		}
		return false
	case "hear": // waits for a signal, and does nothing about it
		_, _ = conn.Receive()
	case "hang": // until the connection ends
		for {
			if _, err := conn.Receive(); err != nil {
				return false
			}
		}
	case "ignore": // hangs even then
		time.Sleep(time.Hour)
	case "die": // without a word
		endNow()
	case "quit":
		os.Exit(3)
	case "echo": // stdin to stdout
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "flood": // messages without end
		for act(conn, "start") {
		}
		return false
	}
	return true
}

// testStore is an empty store, with a root disk to make containers of.
func testStore(t *testing.T) (*Store, Options) {
	t.Helper()
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := s.path("disk")
	if err := os.WriteFile(disk, []byte("erofs"), 0o444); err != nil {
		t.Fatal(err)
	}
	return s, Options{
		Image: "test", RootDisk: disk, RootFS: "erofs", ReadOnly: true,
		CPUs: oneCPU, Memory: 64 << 20, Kernel: "/kernel", Initrd: "/initrd",
	}
}

// self is this test program, as a VMM.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
