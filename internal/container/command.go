package container

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// Defaults is what an image says about its process.
type Defaults struct {
	Entrypoint, Cmd []string
	Env             []string // "NAME=value"
	User            string
	WorkingDir      string
}

// Overrides is what the user says about it.
type Overrides struct {
	// Args take the place of the image's Cmd.
	Args []string
	// Entrypoint, if set, takes the place of the image's Entrypoint, and its Cmd
	// goes too; "" is no entrypoint.
	Entrypoint *string
	// Env adds to the image's: "NAME=value", or "NAME" to take NAME away.
	Env []string
	// User and WorkingDir, if not empty, replace the image's.
	User, WorkingDir string
	// Stdin gives the process mvm's standard input.
	Stdin bool
}

// NewProcess puts an image's defaults and the user's wishes together, by
// docker's rules.
func NewProcess(d Defaults, o Overrides) (proto.Process, error) {
	entrypoint, cmd := d.Entrypoint, d.Cmd
	if o.Entrypoint != nil {
		entrypoint, cmd = nil, nil
		if *o.Entrypoint != "" {
			entrypoint = []string{*o.Entrypoint}
		}
	}
	if len(o.Args) > 0 {
		cmd = o.Args
	}
	p := proto.Process{
		Args:  append(append([]string(nil), entrypoint...), cmd...),
		Env:   mergeEnv(d.Env, o.Env),
		Cwd:   d.WorkingDir,
		User:  d.User,
		Stdin: o.Stdin,
	}
	if len(p.Args) == 0 || p.Args[0] == "" {
		return proto.Process{}, errors.New("no command: the image names none, so give one after the image")
	}
	if o.WorkingDir != "" {
		if !path.IsAbs(o.WorkingDir) {
			return proto.Process{}, fmt.Errorf("bad working directory %q: want an absolute path", o.WorkingDir)
		}
		p.Cwd = o.WorkingDir
	}
	if o.User != "" {
		p.User = o.User
	}
	return p, passable(p)
}

// mergeEnv applies changes to env in their order: a name that is there keeps its
// place.
func mergeEnv(env, changes []string) []string {
	merged := append([]string(nil), env...)
	for _, change := range changes {
		name, _, set := strings.Cut(change, "=")
		at := indexEnv(merged, name)
		switch {
		case set && at >= 0:
			merged[at] = change
		case set:
			merged = append(merged, change)
		case at >= 0:
			merged = append(merged[:at], merged[at+1:]...)
		}
	}
	return merged
}

// indexEnv is where name is set in env, or -1.
func indexEnv(env []string, name string) int {
	for i, e := range env {
		if n, _, _ := strings.Cut(e, "="); n == name {
			return i
		}
	}
	return -1
}

// passable refuses what would not arrive as it is: a NUL ends a string of a system
// call, and JSON holds only UTF-8.
func passable(p proto.Process) error {
	for _, s := range append(append([]string{p.Cwd, p.User}, p.Args...), p.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("%.100q has a NUL byte: no argument, variable or path can", s)
		}
		if !utf8.ValidString(s) {
			return fmt.Errorf("%.100q is not UTF-8, as arguments, variables and paths have to be: send other bytes through stdin (-i) or a file", s)
		}
	}
	return nil
}

// NewExec is a further process in the container: what o leaves open is as the
// container's first process has it.
func (c *Container) NewExec(o Overrides) (proto.Process, error) {
	if len(o.Args) == 0 || o.Args[0] == "" {
		return proto.Process{}, errors.New("no command: give one after the container")
	}
	first := c.Spec.Process
	p, err := NewProcess(Defaults{Env: first.Env, User: first.User, WorkingDir: first.Cwd}, o)
	if err != nil {
		return p, fmt.Errorf("container %s: %w", c.Label(), err)
	}
	p.Groups, p.Capabilities, p.AllCapabilities = first.Groups, first.Capabilities, first.AllCapabilities
	p.NoNewPrivs, p.Unconfined, p.Rlimits, p.OOMScoreAdj = first.NoNewPrivs, first.Unconfined, first.Rlimits, first.OOMScoreAdj
	return p, nil
}
