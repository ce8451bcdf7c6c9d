package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mvm-project/mvm/images"
)

func (a *app) saveCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "save IMAGE...",
		Short: "Save images as a tar, for load",
		Example: `  mvm save -o alpine.tar alpine
  mvm save alpine | docker load`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			s, err := a.images()
			if err != nil {
				return err
			}
			if slices.ContainsFunc(args, isBuiltin) {
				if _, err := a.builtin(cmd.Context(), s); err != nil {
					return err
				}
			}
			if output != "" {
				return saveFile(cmd.Context(), s, args, output)
			}
			if term.IsTerminal(int(os.Stdout.Fd())) {
				return errors.New("save: stdout is a terminal: name a file with -o FILE or use a pipe")
			}
			return s.Save(cmd.Context(), args, os.Stdout)
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the tar (default stdout)")
	return cmd
}

// saveFile writes the tar whole or not at all; a pipe or a device gets it as it
// comes.
func saveFile(ctx context.Context, s *images.Store, refs []string, path string) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("save: %w", err)
		}
		return errors.Join(s.Save(ctx, refs, f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	err = errors.Join(s.Save(ctx, refs, f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
