package main

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/mvm-project/mvm/internal/container"
)

func TestParseKeys(t *testing.T) {
	for s, want := range map[string]string{
		"": "", defaultDetachKeys: "\x10\x11", "a": "a", "ctrl-@,x,ctrl-[": "\x00x\x1b", "ctrl-z,ctrl-_": "\x1a\x1f",
	} {
		if got, err := parseKeys(s); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", s, got, err, want)
		}
	}
	for _, s := range []string{",", "ab", "ctrl-", "ctrl-ab", "ctrl-A", "ctrl-1", "a,", "ctrl-p ctrl-q"} {
		if got, err := parseKeys(s); err == nil {
			t.Errorf("%q was taken as %q", s, got)
		}
	}
}

// What is typed before the keys arrives, whole, however it is read.
func FuzzDetachReader(f *testing.F) {
	for _, seed := range []struct{ typed, keys string }{
		{"echo\r", "\x10\x11"},
		{"a\x10b\x10\x10\x11rest", "\x10\x11"},
		{"ends with one\x10", "\x10\x11"},
		{"aaab", "aab"},
		{"x", ""},
		{"quit", "q"},
	} {
		f.Add([]byte(seed.typed), []byte(seed.keys))
	}
	f.Fuzz(func(t *testing.T, typed, keys []byte) {
		if len(keys) > 16 {
			return
		}
		want, wantErr := typed, error(nil)
		if i := bytes.Index(typed, keys); i >= 0 && len(keys) > 0 {
			want, wantErr = typed[:i], container.ErrDetached
		}
		for name, r := range map[string]io.Reader{
			"at once":      bytes.NewReader(typed),
			"key by key":   iotest.OneByteReader(bytes.NewReader(typed)),
			"with the end": iotest.DataErrReader(bytes.NewReader(typed)),
		} {
			got, err := io.ReadAll(&detachReader{r: r, keys: keys})
			if !errors.Is(err, wantErr) || !bytes.Equal(got, want) {
				t.Errorf("%s: %q, %v; want %q, %v", name, got, err, want, wantErr)
			}
		}
	})
}
