package main

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/images"
)

// imagesFlags say which images are listed, and how.
type imagesFlags struct {
	json, quiet bool
	filters     []string
}

func (a *app) imagesCommand() *cobra.Command {
	var f imagesFlags
	cmd := &cobra.Command{
		Use:   "images [NAME...]",
		Short: "List images",
		Long: `List images: all, or those whose names match a pattern: "alpine" is any tag of
it, "*/web:1*" is matched as a whole, where * stands for all but a slash.`,
		Example: `  mvm images
  mvm images -q --filter dangling=true
  mvm images --json 'ghcr.io/*/*'`,
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listImages(cmd, f, args)
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print IDs only")
	cmd.Flags().StringArrayVarP(&f.filters, "filter", "f", nil, "list some only: dangling=true|false, reference=`PATTERN`")
	return cmd
}

func (a *app) listImages(cmd *cobra.Command, f imagesFlags, names []string) error {
	keep, err := f.parse(names)
	if err != nil {
		return err
	}
	s, err := a.images()
	if err != nil {
		return err
	}
	list, damaged := s.List()
	list = slices.DeleteFunc(list, func(img images.Image) bool { return !keep(img) })
	switch {
	case f.json:
		err = printJSON(cmd.OutOrStdout(), list)
	case f.quiet:
		printIDs(cmd, list)
	default:
		err = printImages(cmd, list)
	}
	if err != nil {
		return err
	}
	return damaged
}

// parse makes one condition of all filters and names: an image has to be named
// by one of the patterns, and dangling if that is asked for.
func (f imagesFlags) parse(patterns []string) (func(images.Image) bool, error) {
	dangling := ""
	for _, s := range f.filters {
		key, value, _ := strings.Cut(s, "=")
		switch _, err := strconv.ParseBool(value); {
		case key == "dangling" && err == nil:
			dangling = value
		case key == "reference" && value != "":
			patterns = append(patterns, value)
		default:
			return nil, fmt.Errorf("bad filter %q: want dangling=true, dangling=false or reference=PATTERN", s)
		}
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("bad pattern %q: %w", p, err)
		}
	}
	return func(img images.Image) bool {
		if want, err := strconv.ParseBool(dangling); err == nil && want != (img.Name == "") {
			return false
		}
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return named(img.Name, p) })
	}, nil
}

// named says whether a pattern means a name, with its tag or without.
func named(name, pattern string) bool {
	repo := name
	if i := strings.LastIndexAny(name, ":@"); i > strings.LastIndexByte(name, '/') {
		repo = strings.TrimSuffix(name[:i], "@sha256")
	}
	whole, _ := path.Match(pattern, name) // checked by parse
	short, _ := path.Match(pattern, repo)
	return name != "" && (whole || short)
}

// printIDs prints each image once, whatever its names.
func printIDs(cmd *cobra.Command, list []images.Image) {
	seen := map[string]bool{}
	for _, img := range list {
		if !seen[img.ID] {
			seen[img.ID] = true
			fmt.Fprintln(cmd.OutOrStdout(), shortID(img.ID))
		}
	}
}

func printImages(cmd *cobra.Command, list []images.Image) error {
	var cells [][]string
	for _, img := range list {
		cells = append(cells, []string{
			displayName(img), shortID(img.ID), strings.TrimPrefix(img.Platform, "linux/"),
			ago(img.Created), units.HumanSize(float64(img.Size)),
		})
	}
	return printTable(cmd.OutOrStdout(), []string{"IMAGE", "ID", "ARCH", "CREATED", "SIZE"}, cells)
}

// displayName is an image's name, or docker's word for none.
func displayName(img images.Image) string {
	if img.Name == "" {
		return "<none>"
	}
	return img.Name
}
