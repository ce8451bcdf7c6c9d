package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestHelper: the word of mvm-netd, and its end, whoever is killed.
func TestHelper(t *testing.T) {
	for _, test := range []struct {
		name, word string
		err        string // of await, while mvm-netd lives
		stopped    bool   // the VM, when it ends
	}{
		{"ready", "{}\n", "", true},
		{"not ready", `{"Error":"no port"}`, "network: no port", false},
		{"silent", "", "mvm-netd was killed", false},
		{"noise", "hello", "mvm-netd was killed", false},
		{"endless", strings.Repeat("[", 2*maxWord), "mvm-netd was killed", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			word, told, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			link, far, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			h := &helper{what: "network", link: link, word: os.NewFile(word.Fd(), "mvm-netd"), ready: make(chan struct{}), gone: make(chan struct{})}
			var stop error
			done := make(chan struct{})
			go func() {
				h.watch(func(err error) { stop = err })
				close(done)
			}()
			if _, err := told.WriteString(test.word); err != nil {
				t.Fatal(err)
			}
			alive := test.word == "{}\n"
			if !alive {
				told.Close()
			}
			if err := h.await(t.Context()); (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
			if alive {
				if h.lost() {
					t.Error("lost while it lives")
				}
				told.Close()
			}
			h.close() // waits for its end
			<-done
			if (stop != nil) != test.stopped || !h.lost() {
				t.Errorf("the VM was stopped by %v; lost: %v", stop, h.lost())
			}
			if err := h.await(t.Context()); err == nil {
				t.Error("a network that is gone is waited for")
			}
			far.Close()
			word.Close()
		})
	}
	cancelled, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if err := (&helper{ready: make(chan struct{})}).await(cancelled); !errors.Is(err, why) {
		t.Error(err)
	}
}
