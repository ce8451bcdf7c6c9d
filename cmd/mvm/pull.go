package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/images"
)

func (a *app) pullCommand() *cobra.Command {
	var o images.PullOptions
	var quiet bool
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Pull images from a registry",
		Long: `Pull images from a registry, with the credentials that docker login left.
Parts that are here already are not fetched again.`,
		Example: `  mvm pull alpine
  mvm pull ghcr.io/project/image:1.2
  mvm pull localhost:5000/test`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: interruptible(func(cmd *cobra.Command, args []string) error {
			s, err := a.images()
			if err != nil {
				return err
			}
			var errs []error
			for _, ref := range args {
				fetch := func() (images.Image, error) { return pull(cmd.Context(), s, ref, o, progressTo(quiet)) }
				if isBuiltin(ref) {
					fetch = func() (images.Image, error) { return a.builtin(cmd.Context(), s) }
				}
				img, err := fetch()
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", ref, img.Digest)
			}
			return errors.Join(errs...)
		}),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "choose among a multi-platform image's, as OS/ARCH (default linux/amd64)")
	cmd.Flags().BoolVar(&o.Insecure, "insecure", false, "allow plain HTTP and unknown certificates")
	return cmd
}
