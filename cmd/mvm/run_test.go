package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/mvm-project/mvm/internal/control"
)

func TestEnded(t *testing.T) {
	for _, tt := range []struct {
		exit   control.Exit
		err    error
		status int
		text   string // a part of what is said; empty: nothing is
	}{
		{},
		{exit: control.Exit{Code: 3}, status: 3},
		{exit: control.Exit{Code: 137, Signal: 9}, status: 137},
		{exit: control.Exit{Code: 137, Signal: 9, OOMKilled: true}, status: 137, text: "memory ran out in the container"},
		{exit: control.Exit{Code: 3, OOMKilled: true}, status: 3}, // it was another process, and the first went on
		{exit: control.Exit{Code: 127, Error: "not there"}, status: 127, text: "not there"},
		{err: errors.New("no KVM"), status: statusFailed, text: "no KVM"},
	} {
		err := ended(tt.exit, tt.err)
		var code exitStatus
		var said exitError
		switch {
		case errors.As(err, &said):
			code = said.exitStatus
		case err != nil && !errors.As(err, &code):
			code, said.text = statusFailed, err.Error()
		}
		if int(code) != tt.status || (said.text == "") != (tt.text == "") || !strings.Contains(said.text, tt.text) {
			t.Errorf("%+v, %v: status %d, %q; want %d, %q", tt.exit, tt.err, code, said.text, tt.status, tt.text)
		}
	}
}
