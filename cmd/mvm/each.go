package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// each does something to each container that args name, and prints the names of
// those that it worked for. One that fails does not keep it from the others.
func (a *app) each(cmd *cobra.Command, args []string, do func(context.Context, *container.Container) error) error {
	s, err := a.containers()
	if err != nil {
		return err
	}
	failed := false
	for _, ref := range args {
		c, err := s.Find(ref)
		if err == nil {
			err = do(cmd.Context(), &c)
		}
		if err != nil {
			if cmd.Context().Err() != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, "mvm:", err)
			failed = true
			continue
		}
		fmt.Fprintln(cmd.OutOrStdout(), ref)
	}
	if failed {
		return exitStatus(statusFailed)
	}
	return nil
}

// removeEach removes what names name, and prints the names of what is gone. One that
// stays does not keep the others.
func removeEach(w io.Writer, names []string, remove func(string) error) error {
	var errs []error
	for _, name := range names {
		if err := remove(name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(w, name)
	}
	return errors.Join(errs...)
}

// eachCommand is a verb that takes containers, which complete completes, and nothing
// else.
func (a *app) eachCommand(use, short, example string, complete cobra.CompletionFunc, do func(context.Context, *container.Container) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " CONTAINER...", Short: short, Example: example,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, do)
		}),
	}
}

// one opens the container that ref names.
func (a *app) one(ref string) (*container.Store, container.Container, error) {
	s, err := a.containers()
	if err != nil {
		return nil, container.Container{}, err
	}
	c, err := s.Find(ref)
	return s, c, err
}
