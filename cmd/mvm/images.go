package main

import (
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/images"
)

func (a *app) imagesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "images",
		Short:   "List images",
		Example: `  mvm images --json`,
		Args:    cobra.NoArgs,

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.images()
			if err != nil {
				return err
			}
			list, err := s.List()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printImages(cmd, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printImages(cmd *cobra.Command, list []images.Image) error {
	var cells [][]string
	for _, img := range list {
		name := img.Name
		if name == "" {
			name = "<none>"
		}
		cells = append(cells, []string{
			name, shortID(img.ID), strings.TrimPrefix(img.Platform, "linux/"),
			ago(img.Created), units.HumanSize(float64(img.Size)),
		})
	}
	return printTable(cmd.OutOrStdout(), []string{"IMAGE", "ID", "ARCH", "CREATED", "SIZE"}, cells)
}
