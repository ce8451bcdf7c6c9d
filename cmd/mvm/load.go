package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mvm-project/mvm/images"
)

func (a *app) loadCommand() *cobra.Command {
	var input string
	var quiet bool
	var o images.LoadOptions
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load images from a tar or an OCI layout",
		Long: `Load images from a tar as docker save, podman save and mvm save write it (it may
be compressed), or from an OCI image layout, as a tar or as a folder.`,
		Example: `  docker save alpine | mvm load
  mvm load -i image.tar
  mvm load -i ./layout --name test:1`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: interruptible(func(cmd *cobra.Command, _ []string) error {
			s, err := a.images()
			if err != nil {
				return err
			}
			loaded, err := load(cmd, s, input, o, progressTo(quiet))
			if err != nil {
				return err
			}
			for _, img := range loaded {
				name := img.Name
				if name == "" {
					name = img.ID
				}
				fmt.Fprintln(cmd.OutOrStdout(), "Loaded image:", name)
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "the tar or folder (default stdin)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	cmd.Flags().StringVar(&o.Name, "name", "", "name the image")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "choose among a multi-platform image's, as OS/ARCH (default linux/amd64)")
	return cmd
}

func load(cmd *cobra.Command, s *images.Store, input string, o images.LoadOptions, progress io.Writer) ([]images.Image, error) {
	var done func()
	o.Progress, done = showProgress(progress)
	defer done()
	if input != "" {
		return s.Load(cmd.Context(), input, o)
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, errors.New("load: stdin is a terminal: give a tar by -i FILE or through a pipe")
	}
	return s.LoadFrom(cmd.Context(), os.Stdin, o)
}
