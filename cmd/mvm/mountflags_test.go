package main

import (
	"slices"
	"testing"

	"github.com/mvm-project/mvm/internal/container"
)

// TestImageVolumes: each VOLUME of an image is a volume of the container's own, but
// where the user has mounted something.
func TestImageVolumes(t *testing.T) {
	f := mountFlags{volumes: []string{"named:/a", "/fresh"}, tmpfs: []string{"/b/"}}
	var o container.Options
	if err := f.parse(&o); err != nil {
		t.Fatal(err)
	}
	if err := imageVolumes(&o, []string{"/a/", "/b", "/c/../d", "/a/in", "/d"}); err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, m := range o.Mounts {
		if m.Anonymous {
			own = append(own, m.Path)
		}
		if m.Type != container.VolumeMount || m.Anonymous != (len(m.Source) == 64) {
			t.Errorf("%+v", m)
		}
	}
	if !slices.Equal(own, []string{"/fresh", "/d", "/a/in"}) {
		t.Errorf("volumes of its own on %q", own)
	}
	for _, path := range []string{"/", "relative", "/proc/x", "/b/hidden"} {
		if err := imageVolumes(&o, []string{path}); err == nil {
			t.Errorf("VOLUME %s is taken", path)
		}
	}
}
