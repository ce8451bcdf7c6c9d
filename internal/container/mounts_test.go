package container

import (
	"slices"
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
