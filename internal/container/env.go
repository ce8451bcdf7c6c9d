package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEnvLine bounds a line of an env file, in bytes: what execve(2) takes for
// one string (MAX_ARG_STRLEN).
const maxEnvLine = 128 << 10

// ParseEnvFile reads variables as docker's --env-file does: a NAME=value per
// line, taken literally; a NAME alone is looked up with lookup, and left out if
// it is not there; empty lines and lines that begin with # are skipped.
func ParseEnvFile(r io.Reader, lookup func(string) (string, bool)) ([]string, error) {
	var env []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxEnvLine)
	n := 0
	for sc.Scan() {
		n++
		line := sc.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // a byte order mark
		}
		if !utf8.Valid(line) {
			return nil, fmt.Errorf("line %d is not UTF-8", n)
		}
		text := strings.TrimLeftFunc(string(line), unicode.IsSpace)
		if text == "" || text[0] == '#' {
			continue
		}
		v, err := ParseEnv(text, lookup)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if name, _, set := strings.Cut(v, "="); strings.ContainsFunc(name, unicode.IsSpace) {
			return nil, fmt.Errorf("line %d: variable %q has a space in its name", n, name)
		} else if set {
			env = append(env, v)
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d is longer than %d bytes", n+1, maxEnvLine)
	}
	return env, sc.Err()
}

// ParseEnv reads one variable as docker's --env does: "NAME=value"; or "NAME",
// which lookup completes, and which stays "NAME" (to take NAME away) if it does
// not know it.
func ParseEnv(s string, lookup func(string) (string, bool)) (string, error) {
	name, _, set := strings.Cut(s, "=")
	if name == "" {
		return "", fmt.Errorf("bad variable %q: want NAME=value or NAME", s)
	}
	if set {
		return s, nil
	}
	if v, ok := lookup(name); ok {
		return name + "=" + v, nil
	}
	return name, nil
}
