package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// microProgram is beside this one: micro/micro.c says what it measures.
const microProgram = "micro"

// measureGuest takes rounds of what a guest's kernel is asked for most, each in a
// microVM of its own.
func measureGuest(o options, r *report) error {
	for range o.Rounds {
		if err := r.take(o, o.micro); err != nil {
			return err
		}
	}
	return nil
}

// micro runs the program in a container, on a tmpfs.
func (o *options) micro(ctx context.Context, r *report) error {
	program, err := os.ReadFile(filepath.Join(o.Bin, microProgram))
	if err != nil {
		return err
	}
	cmd := o.mvm(ctx, []string{"-i", "--tmpfs", "/tmp"}, "sh", "-c", "cd /tmp; cat >micro; chmod 755 micro; ./micro")
	cmd.Stdin = bytes.NewReader(program)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("mvm run u-root %s: %w", microProgram, err)
	}
	for line := range strings.Lines(string(out)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
		ns, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s printed %q: %w", microProgram, line, err)
		}
		r.add("guest: "+name, "us", ns/1000)
	}
	return nil
}
