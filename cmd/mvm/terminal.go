package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
)

// terminal is the user's, in raw mode: what is typed is the container's.
type terminal struct {
	fd      int
	cooked  *term.State
	once    sync.Once
	resizes chan proto.Size
	winch   chan os.Signal
}

// isTerminal says whether mvm's stdin and stdout are one.
func isTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
}

// openTerminal puts the user's terminal into raw mode. It has to be restored,
// whatever happens.
func openTerminal() (*terminal, error) {
	t := &terminal{fd: int(os.Stdin.Fd()), resizes: make(chan proto.Size, 1), winch: make(chan os.Signal, 1)}
	var err error
	if t.cooked, err = term.MakeRaw(t.fd); err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	signal.Ignore(syscall.SIGPIPE) // of stdout, which need not be the terminal: nothing may end mvm before restore
	signal.Notify(t.winch, syscall.SIGWINCH)
	t.winch <- syscall.SIGWINCH // the size may have changed since it was read
	go func() {                 // ends with restore
		defer close(t.resizes)
		for range t.winch {
			size := terminalSize()
			select { // only the last one counts
			case <-t.resizes:
			default:
			}
			t.resizes <- size
		}
	}()
	return t, nil
}

// restore gives the terminal back as it was; the second time it does nothing.
func (t *terminal) restore() {
	t.once.Do(func() {
		signal.Stop(t.winch)
		close(t.winch)
		_ = term.Restore(t.fd, t.cooked)
	})
}

// terminalSize is that of the user's terminal, or a usual one.
func terminalSize() proto.Size {
	w, h, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		return proto.Size{Rows: 24, Cols: 80}
	}
	return proto.Size{Rows: uint16(h), Cols: uint16(w)}
}

// defaultDetachKeys are docker's.
const defaultDetachKeys = "ctrl-p,ctrl-q"

// parseKeys reads docker's --detach-keys: a comma between keys, each a character
// or ctrl- and one.
func parseKeys(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(s, ",") {
		name, ctrl := strings.CutPrefix(key, "ctrl-")
		switch {
		case len(name) != 1:
			return nil, fmt.Errorf("bad detach key %q: want a character, or ctrl- and one, with commas between", key)
		case !ctrl:
			keys = append(keys, name[0])
		case name[0] >= 'a' && name[0] <= 'z' || strings.ContainsAny(name, "@[\\]^_"):
			keys = append(keys, name[0]&0x1f)
		default:
			return nil, fmt.Errorf("there is no key %q", key)
		}
	}
	return keys, nil
}

// detachReader ends with container.ErrDetached when the keys have been typed. What
// may be their beginning is held back until another key tells.
type detachReader struct {
	r     io.Reader
	keys  []byte
	typed []byte // held back: a beginning of keys
}

func (d *detachReader) Read(p []byte) (int, error) {
	if len(d.keys) == 0 {
		return d.r.Read(p)
	}
	if len(p) <= len(d.keys) {
		return 0, errors.New("read of less than the detach keys")
	}
	in := make([]byte, len(p)-len(d.keys)) // what is held back comes before it
	for {
		n, err := d.r.Read(in)
		out := p[:0]
		for _, b := range in[:n] {
			d.typed = append(d.typed, b)
			for !bytes.HasPrefix(d.keys, d.typed) {
				out = append(out, d.typed[0])
				d.typed = d.typed[1:]
			}
			if len(d.typed) == len(d.keys) {
				return len(out), container.ErrDetached
			}
		}
		if err != nil {
			out, d.typed = append(out, d.typed...), nil
		}
		if len(out) > 0 || err != nil {
			return len(out), err
		}
	}
}
