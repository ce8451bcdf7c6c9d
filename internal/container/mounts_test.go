package container

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/vmm"
)

// TestPlanShared: a folder of the host takes no disk, is mounted after those that it
// lies in, and has the name that mvm-fsd serves it by: its place on the command line.
func TestPlanShared(t *testing.T) {
	o := Options{Mounts: []Mount{
		{Type: BindMount, Source: "/inner", Path: "/a/b", ReadOnly: true},
		{Type: VolumeMount, Source: "v", Path: "/v"},
		{Type: BindMount, Source: "/outer", Path: "/a"},
		{Type: BindMount, Source: "/file", Path: "/etc/file", File: true},
	}}
	if err := CheckMounts(o); err != nil {
		t.Fatal(err)
	}
	var p diskPlan
	var c proto.Container
	o.planMounts(&p, &c)
	want := []proto.Mount{
		{FS: proto.ShareFS, Share: "1", Path: "/a"},
		{FS: proto.ShareFS, Share: "0", Path: "/a/b", ReadOnly: true},
		{FS: proto.ShareFS, Share: "2", Path: "/etc/file", File: true},
		{FS: "ext4", Disk: "/dev/vda", Folder: "data", Path: "/v", Copy: true},
	}
	if !slices.Equal(c.Mounts, want) {
		t.Errorf("%+v", c.Mounts)
	}
	if !slices.Equal(p.disks, []vmm.Disk{{Path: "volume.v"}}) {
		t.Errorf("disks %+v", p.disks)
	}
	for i, m := range shared(o.Mounts) {
		if want := []string{"/inner", "/outer", "/file"}[i]; m.Source != want {
			t.Errorf("share %d is %s, not %s", i, m.Source, want)
		}
	}
}

// TestAnonymousVolumes: they stay when a container is removed, and go with one of
// --rm, with one that asks for it, and with one that could not be made.
func TestAnonymousVolumes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rm     bool
		how    Removal
		killed bool // the remover, after config.json
		want   string
	}{
		{name: "kept", want: "fresh named"},
		{name: "asked", how: Removal{Volumes: true}, want: "named"},
		{name: "--rm", rm: true, want: "named"},
		{name: "killed", killed: true, want: "named"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, o := testStore(t)
			o.Name, o.Remove = "name", tt.rm
			o.Mounts = []Mount{
				{Type: VolumeMount, Source: "fresh", Anonymous: true, Path: "/a"},
				{Type: VolumeMount, Source: "named", Path: "/b"},
			}
			id, lock, err := s.create(&o)
			must(t, err)
			c, err := s.fill(id, o)
			must(t, err)
			must(t, lock.Close())
			if tt.killed {
				must(t, os.Remove(filepath.Join(c.dir, configFile)))
				must(t, s.Sweep())
			} else {
				must(t, s.Remove(t.Context(), "name", tt.how))
			}
			volumes, err := s.Volumes()
			must(t, err)
			list, err := volumes.List()
			must(t, err)
			var names []string
			for _, v := range list {
				names = append(names, v.Name)
				if v.Holders != 0 || v.Nameless != (v.Name == "fresh") {
					t.Errorf("%+v", v)
				}
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("volumes %q, want %q", got, tt.want)
			}
		})
	}
}
