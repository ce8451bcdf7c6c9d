package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/images"
)

func (a *app) imageInspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] IMAGE...",
		Short:             "Show all there is to know of images, as JSON",
		Example:           "  mvm image inspect -f '{{.Config.Cmd}}' nginx",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd, args, format, a.inspectImage)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "print by this Go `TEMPLATE`, or json")
	return cmd
}

// inspect prints what look finds of each name. One that it does not find does not
// keep it from the others.
func inspect(cmd *cobra.Command, names []string, format string, look func(string) (any, error)) error {
	found := []any{}
	failed := false
	for _, name := range names {
		v, err := look(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mvm:", printable(err.Error()))
			failed = true
			continue
		}
		found = append(found, v)
	}
	var err error
	if format == "" {
		err = printJSON(cmd.OutOrStdout(), found)
	} else {
		err = printFormat(cmd.OutOrStdout(), format, found)
	}
	if failed {
		return errors.Join(err, exitStatus(statusFailed))
	}
	return err
}

// inspectedImage is an image as inspect prints it: docker's names, as far as they
// mean the same.
type inspectedImage struct {
	ID                        string `json:"Id"`
	RepoTags, RepoDigests     []string
	Created                   string
	Os, Architecture, Variant string
	Size                      int64
	RootDisk                  string
	Config                    struct {
		User, WorkingDir, StopSignal string
		Env, Cmd, Entrypoint         []string
		Labels                       map[string]string
		ExposedPorts, Volumes        map[string]struct{}
	}
}

func (a *app) inspectImage(ref string) (any, error) {
	s, err := a.images()
	if err != nil {
		return nil, err
	}
	img, err := s.Get(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no image %q: see mvm images, or mvm pull it", ref)
	}
	if err != nil {
		return nil, err
	}
	return newInspectedImage(img), nil
}

func newInspectedImage(img images.Image) inspectedImage {
	i := inspectedImage{
		ID: img.ID, RepoTags: []string{}, RepoDigests: []string{}, Created: img.Created.Format(rfc3339Nano),
		Size: img.Size, RootDisk: img.RootDisk,
	}
	i.Os, i.Architecture, _ = strings.Cut(img.Platform, "/")
	i.Architecture, i.Variant, _ = strings.Cut(i.Architecture, "/")
	if img.Name != "" && strings.Contains(img.Name, "@") {
		i.RepoDigests = append(i.RepoDigests, img.Name)
	} else if img.Name != "" {
		i.RepoTags = append(i.RepoTags, img.Name)
	}
	c := &i.Config
	c.User, c.WorkingDir, c.StopSignal = img.Config.User, img.Config.WorkingDir, img.Config.StopSignal
	c.Env, c.Cmd, c.Entrypoint, c.Labels = img.Config.Env, img.Config.Cmd, img.Config.Entrypoint, img.Config.Labels
	c.ExposedPorts, c.Volumes = set(img.Config.ExposedPorts), set(img.Config.Volumes)
	return i
}

func set(names []string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}
