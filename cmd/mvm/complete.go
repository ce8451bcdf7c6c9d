package main

import (
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

// completeContainers completes names and IDs of containers.
func (a *app) completeContainers(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeThose(func(container.Container) bool { return true })
}

// completeUp completes those of containers that run, completeDown of those that do not.
func (a *app) completeUp(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeThose(container.Container.Up)
}

func (a *app) completeDown(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeThose(func(c container.Container) bool { return !c.Up() })
}

// completeThose completes those of containers that want takes. A shell can show no
// error: it gets fewer words.
func (a *app) completeThose(want func(container.Container) bool) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	if a.findRoot() == nil {
		if s, err := a.containers(); err == nil {
			list, _ := s.List()
			for _, c := range list {
				if !want(c) {
					continue
				}
				words = append(words, c.ID)
				if c.Name != "" {
					words = append(words, c.Name)
				}
			}
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeImages completes names of images.
func (a *app) completeImages(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	if a.findRoot() == nil {
		if s, err := a.images(); err == nil {
			list, _ := s.List()
			for _, img := range list {
				if img.Name != "" {
					words = append(words, img.Name)
				}
			}
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeRun completes the image; what follows it is the container's.
func (a *app) completeRun(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeImages(cmd, args, word)
}
