package container

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func lookup(name string) (string, bool) { return "host", name == "HERE" }

func TestParseEnvFile(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"A=1\nB=two words\n", "A=1|B=two words", ""},
		{"A=1\r\nB=\"x\"", "A=1|B=\"x\"", ""},
		{"\ufeffA=1", "A=1", ""},
		{"# no\n\n   \n  A=1", "A=1", ""},
		{"A=#1 \nB= x", "A=#1 |B= x", ""},
		{"HERE\nGONE\nA=", "HERE=host|A=", ""},
		{"A=1=2", "A=1=2", ""},
		{"=1", "", "line 1"},
		{"A=1\nA B=1", "", "line 2"},
		{"A=\xff", "", "UTF-8"},
		{"A=" + strings.Repeat("x", maxEnvLine), "", "longer"},
	} {
		got, err := ParseEnvFile(strings.NewReader(tt.text), lookup)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%.20q: error %v; want %q", tt.text, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "|")); err != nil || diff != "" {
			t.Errorf("%.20q: %v %s", tt.text, err, diff)
		}
	}
}

func FuzzParseEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB=2\r\n", "\ufeff# x\nHERE\n", " A =1", "=", "\x00=\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env, err := ParseEnvFile(strings.NewReader(text), lookup)
		if err != nil {
			return
		}
		for _, v := range env {
			name, _, set := strings.Cut(v, "=")
			if !set || name == "" || strings.ContainsAny(v, "\n") || !utf8.ValidString(v) {
				t.Errorf("%q gave %q", text, v)
			}
		}
		again, err := ParseEnvFile(strings.NewReader(strings.Join(env, "\n")), lookup)
		if err == nil && !cmp.Equal(again, env) && len(env) > 0 && !strings.Contains(text, "#") && !strings.Contains(text, "\r") && !strings.Contains(text, "\ufeff") {
			t.Errorf("%q gave %q, which gives %q", text, env, again)
		}
	})
}
