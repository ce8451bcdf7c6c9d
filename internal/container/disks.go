package container

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/vmm"
)

// MaxDisks is how many disks a container may have beside its image and its layer:
// what the microVM has slots for.
const MaxDisks = 14

// Disk is a raw disk image, or a block device, of the user's.
type Disk struct {
	Path     string // absolute
	ReadOnly bool
}

// ParseDisk reads FILE[:ro], of a file that can be a disk.
func ParseDisk(s string) (Disk, error) {
	path, readOnly := strings.CutSuffix(s, ":ro")
	if path == "" {
		return Disk{}, fmt.Errorf("bad disk %q: want FILE or FILE:ro", s)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Disk{}, err
	}
	return Disk{path, readOnly}, blk.CheckFile(path, readOnly)
}

// diskPlan is which disks a microVM has, and what they are to the container. The
// user's come first: their names do not depend on what else there is.
type diskPlan struct {
	disks []vmm.Disk
}

// add returns the name of the disk in the guest.
func (p *diskPlan) add(d vmm.Disk) string {
	p.disks = append(p.disks, d)
	return "/dev/vd" + string(rune('a'+len(p.disks)-1)) // there are fewer than 26
}

// planDisks gives a container its disks.
func (o Options) planDisks(c *proto.Container) []vmm.Disk {
	var p diskPlan
	for _, d := range o.Disks {
		c.Disks = append(c.Disks, p.add(vmm.Disk{Path: d.Path, ReadOnly: d.ReadOnly, Limits: o.Limits.Disk}))
	}
	c.Root = proto.Root{ImageFS: o.RootFS, ReadOnly: o.ReadOnly, Discard: o.Remove}
	c.Root.Image = p.add(vmm.Disk{Path: imageFile, ReadOnly: true, Limits: o.Limits.Disk})
	if !o.ReadOnly {
		c.Root.Layer = p.add(vmm.Disk{Path: layerFile, Limits: o.Limits.Disk})
	}
	o.planMounts(&p, c)
	return p.disks
}
