package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/logfile"
	"github.com/mvm-project/mvm/ratelimit"
)

// connOf is the far end of a stream.
func connOf(t *testing.T, f *os.File) *net.UnixConn {
	t.Helper()
	c, err := control.Socket(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// typist attaches to o, and returns what the client types into, and the client.
func typist(t *testing.T, o *outlet) (*net.UnixConn, *client) {
	t.Helper()
	c, _, files, err := newClient(proto.Process{Stdin: true}, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.add(c); err != nil {
		t.Fatal(err)
	}
	closeAll(files[1:])
	return connOf(t, files[0]), c
}

// The process's stdin ends with a client's only if it was started for that one;
// not because a client has left.
func TestStdinOfClients(t *testing.T) {
	for _, tt := range []struct {
		name        string
		once, leave bool
		ends        bool
	}{
		{name: "in the background"},
		{name: "in the background, left", leave: true},
		{name: "started attached", once: true, ends: true},
		{name: "started attached, left", once: true, leave: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOutlet(false)
			o.once = tt.once
			defer o.removeAll()
			near, far, err := socketPair()
			if err != nil {
				t.Fatal(err)
			}
			process := connOf(t, far)
			read := func() string {
				b := make([]byte, 10)
				n, err := process.Read(b)
				if err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				return string(b[:n])
			}
			o.setStdin(near)
			typed, c := typist(t, o)
			_, _ = typed.Write([]byte("x"))
			if got := read(); got != "x" {
				t.Errorf("read %q", got)
			}
			if tt.leave {
				o.remove(c)
			} else if err := typed.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if tt.ends {
				if got := read(); got != "" {
					t.Errorf("after the end: %q", got)
				}
				return
			}
			other, _ := typist(t, o)
			_, _ = other.Write([]byte("y"))
			if got := read(); got != "y" {
				t.Errorf("from another: %q", got)
			}
		})
	}
}

func TestAttachedAtMost(t *testing.T) {
	o := newOutlet(false)
	defer o.removeAll()
	for range maxAttached {
		if err := o.add(&client{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.add(&client{}); err == nil {
		t.Error("one more than may be")
	}
}

// A log's limit holds output back without losing any, and lets go when the process
// has ended.
func TestLogIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutlet(false)
		var err error
		if o.log, err = logfile.Create(filepath.Join(t.TempDir(), "log"), logfile.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = o.log.Close() }()
		o.limiter = ratelimit.New(ratelimit.Limits{Bytes: &ratelimit.Bucket{Size: 1000, Refill: time.Second}})
		over := make(chan struct{})
		began := time.Now()
		for range 3 { // the first is what the bucket holds
			o.keep(logfile.Stdout, make([]byte, 1000), over)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("3000 bytes at 1000 a second took %v, want 2 s", took)
		}
		time.AfterFunc(time.Second/2, func() { close(over) })
		for range 100 {
			o.keep(logfile.Stdout, make([]byte, 1000), over)
		}
		if took := time.Since(began); took != 5*time.Second/2 {
			t.Errorf("what was left at the end was there after %v, want 2.5 s", took)
		}
	})
}
