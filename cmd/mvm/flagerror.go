package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// flagError explains a flag that mvm does not know, or not yet.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	for _, docker := range []struct{ flag, shorthand, advice string }{
		{"volume", "v", "containers share no folders with the host yet: send files through stdin (-i)"},
		{"mount", "", "containers share no folders with the host yet: --tmpfs makes empty ones"},
		{"privileged", "", "a container has its microVM for itself: it is not needed"},
	} {
		if cmd.Name() == "run" && (strings.HasPrefix(text, "unknown flag: --"+docker.flag) && len(text) == len("unknown flag: --"+docker.flag) ||
			docker.shorthand != "" && strings.HasPrefix(text, "unknown shorthand flag: '"+docker.shorthand+"'")) {
			return fmt.Errorf("%s: %s", text, docker.advice)
		}
	}
	return fmt.Errorf("%s: see mvm %s --help", text, cmd.Name())
}
