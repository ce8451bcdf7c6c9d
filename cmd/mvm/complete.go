package main

import "github.com/spf13/cobra"

// completeContainers completes names and IDs of containers. A shell can show no
// error: it gets fewer words.
func (a *app) completeContainers(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	if a.findRoot() == nil {
		if s, err := a.containers(); err == nil {
			list, _ := s.List()
			for _, c := range list {
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
