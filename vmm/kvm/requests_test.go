// It reads the source, which a test that is taken to a KVM host has not.

//go:build !kvm

package kvm

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRequests: an ioctl that this package makes is among the Requests, and no other.
func TestRequests(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`gokvm\.IIO\w*\(.*?\)+`)
	var made, listed []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		switch {
		case err != nil:
			t.Fatal(err)
		case f == "requests.go":
			listed = number.FindAllString(string(text), -1)
		case !strings.HasSuffix(f, "_test.go"):
			made = append(made, number.FindAllString(string(text), -1)...)
		}
	}
	for _, all := range []*[]string{&made, &listed} {
		slices.Sort(*all)
		*all = slices.Compact(*all)
	}
	if len(made) < 20 || !slices.Equal(made, listed) {
		t.Errorf("made:\n%s\nlisted:\n%s", strings.Join(made, "\n"), strings.Join(listed, "\n"))
	}
}
