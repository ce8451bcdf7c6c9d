package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) cpCommand() *cobra.Command {
	var o container.CopyOptions
	cmd := &cobra.Command{
		Use: "cp [OPTIONS] CONTAINER:PATH PATH|-\n  mvm cp [OPTIONS] PATH|- CONTAINER:PATH",

		DisableFlagsInUseLine: true,

		Short: "Copy files between a container and the host",
		Long: `Copy files between a container and the host, by docker's rules: into a folder that
is there, else under the name given; FOLDER/. is what is in a folder; - is a tar on
stdin or stdout. The microVM of a container that does not run is booted for it.

What comes out of a container makes no devices on the host, and without -a loses
set-user-ID and set-group-ID.`,
		Example: `  mvm cp web:/var/log/nginx .
  mvm cp site/. web:/srv
  mvm cp web:/etc - | tar t`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			words, _ := a.completeContainers(cmd, args, word)
			for i := range words {
				words[i] += ":"
			}
			return words, cobra.ShellCompDirectiveNoSpace
		},
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			return a.copy(cmd, args[0], args[1], o)
		}),
	}
	cmd.Flags().BoolVarP(&o.KeepOwner, "archive", "a", false, "keep the files' numeric owners")
	cmd.Flags().BoolVarP(&o.Follow, "follow-link", "L", false, "copy what a link PATH points to")
	cmd.Flags().BoolP("quiet", "q", false, "for docker's sake: cp says nothing anyway")
	return cmd
}

func (a *app) copy(cmd *cobra.Command, src, dest string, o container.CopyOptions) error {
	from, fromPath := splitCopy(src)
	to, toPath := splitCopy(dest)
	if (from == "") == (to == "") {
		return errors.New("one of the two has to be in a container: CONTAINER:PATH")
	}
	s, c, err := a.one(from + to) // one of them is empty
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if c.Up() {
		return copyFiles(ctx, &c, from != "", fromPath, toPath, o)
	}
	b, err := a.boot()
	if err != nil {
		return err
	}
	visited, leave, err := s.Visit(ctx, c.ID, b)
	if err != nil {
		return err
	}
	err = copyFiles(ctx, visited, from != "", fromPath, toPath, o)
	return errors.Join(err, leave())
}

// copyFiles copies out of the container, or into it.
func copyFiles(ctx context.Context, c *container.Container, out bool, fromPath, toPath string, o container.CopyOptions) error {
	switch {
	case out && toPath == "-":
		return c.TarOut(ctx, fromPath, os.Stdout, o)
	case out:
		return c.CopyOut(ctx, fromPath, toPath, o)
	case fromPath == "-":
		return c.TarIn(ctx, os.Stdin, toPath, o)
	}
	return c.CopyIn(ctx, fromPath, toPath, o)
}

// splitCopy reads CONTAINER:PATH. As with docker, what begins with a slash or a
// dot is a path of the host's, colons and all.
func splitCopy(s string) (ref, path string) {
	ref, path, ok := strings.Cut(s, ":")
	if !ok || filepath.IsAbs(s) || strings.HasPrefix(s, ".") {
		return "", s
	}
	return ref, path
}
