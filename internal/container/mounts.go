package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/volume"
	"github.com/mvm-project/mvm/vmm"
)

// MountType is a kind of mount, by docker's name for it.
type MountType string

// The kinds of mounts.
const (
	VolumeMount MountType = "volume"
	ImageMount  MountType = "image"
	TmpfsMount  MountType = "tmpfs" // is in Options.Tmpfs
	BindMount   MountType = "bind"
)

// Mount is what a container has mounted from a disk, or shares with the host.
type Mount struct {
	Type MountType
	// Source is the volume's name, the image as the user named it, or the absolute
	// path of what is shared.
	Source string
	// Path is where, in the container: absolute and clean.
	Path     string
	ReadOnly bool
	// Anonymous says that nobody named the volume: it was made for this container,
	// and its Source up.
	Anonymous bool `json:",omitempty"`
	// NoCopy leaves an empty volume empty, whatever the image has there.
	NoCopy bool `json:",omitempty"`
	// RootDisk and RootFS are an image's.
	RootDisk, RootFS string `json:",omitempty"`
	// File says that what is shared is no folder.
	File bool `json:",omitempty"`
}

// shared are the mounts that mvm-fsd serves, each by its place among them.
func shared(mounts []Mount) []Mount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m Mount) bool { return m.Type != BindMount })
}

// anonymousFile begins the names of anonymous volumes' disks: they go with the
// container, though nothing else of it may be left to tell.
const anonymousFile = "anonymous."

// file is the disk's name in the container's folder.
func (m Mount) file() string {
	switch {
	case m.Anonymous:
		return anonymousFile + m.Source
	case m.Type == VolumeMount:
		return "volume." + m.Source
	}
	return fmt.Sprintf("image.%x", m.Path) // a path is none for a file's name
}

// maxShared bounds the folders of the host that a container has: each is a
// connection of the guest's, of which other things need some.
const maxShared = 32

// CheckMounts says whether a container can have its mounts, all of them.
func CheckMounts(o Options) error {
	files := map[string]bool{}
	paths := map[string]bool{}
	for _, m := range o.Mounts {
		if m.Type != BindMount {
			files[m.file()] = true
		}
		if _, tmpfs := o.Tmpfs[m.Path]; tmpfs || paths[m.Path] {
			return fmt.Errorf("two mounts are on %s: take one", m.Path)
		}
		paths[m.Path] = true
		for dir := m.Path; dir != "/"; dir = filepath.Dir(dir) {
			if _, tmpfs := o.Tmpfs[dir]; tmpfs || dir == "/proc" || dir == "/sys" || dir == "/dev" {
				return fmt.Errorf("a %s on %s would be hidden by what is mounted on %s: choose another path", m.Type, m.Path, dir)
			}
		}
	}
	if n := len(shared(o.Mounts)); n > maxShared {
		return fmt.Errorf("%d folders of the host: a container may have %d", n, maxShared)
	}
	if n := len(o.Disks) + len(files); n > MaxDisks {
		return fmt.Errorf("%d disks, volumes and images: a container has room for %d", n, MaxDisks)
	}
	return nil
}

// Volumes opens the volumes.
func (s *Store) Volumes() (*volume.Store, error) {
	return volume.Open(s.path("volumes"), s.blanks())
}

// takeDisks puts the disks of a container's mounts into its folder.
func (s *Store) takeDisks(dir string, mounts []Mount) error {
	volumes, err := s.Volumes()
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, m := range mounts {
		path := filepath.Join(dir, m.file())
		if taken[path] || m.Type == BindMount {
			continue
		}
		taken[path] = true
		if m.Type == VolumeMount {
			err = volumes.Take(m.Source, path, m.Anonymous)
		} else {
			err = link(m.RootDisk, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachAnonymous does something with each anonymous volume's disk in a container's
// folder.
func eachAnonymous(dir string, do func(name, path string) error) error {
	paths, err := filepath.Glob(filepath.Join(dir, anonymousFile+"*"))
	for _, path := range paths {
		err = errors.Join(err, do(strings.TrimPrefix(filepath.Base(path), anonymousFile), path))
	}
	return err
}

// dropVolumes removes the anonymous volumes of a container that goes.
func (s *Store) dropVolumes(dir string) error {
	return eachAnonymous(dir, func(name, path string) error {
		volumes, err := s.Volumes()
		if err != nil {
			return err
		}
		return volumes.Drop(name, path)
	})
}

// keepVolumes has them stay.
func keepVolumes(dir string) error {
	return eachAnonymous(dir, func(_, path string) error { return os.Remove(path) })
}

// planMounts gives a container the disks of its mounts, outer mounts first.
func (o Options) planMounts(p *diskPlan, c *proto.Container) {
	mounts := slices.Clone(o.Mounts)
	slices.SortFunc(mounts, func(a, b Mount) int { return strings.Compare(a.Path, b.Path) })
	disks := map[string]string{}
	for _, m := range mounts {
		if m.Type == BindMount {
			place := slices.IndexFunc(shared(o.Mounts), func(other Mount) bool { return other.Path == m.Path })
			c.Mounts = append(c.Mounts, proto.Mount{FS: proto.ShareFS, Share: strconv.Itoa(place), File: m.File, Path: m.Path, ReadOnly: m.ReadOnly})
			continue
		}
		if disks[m.file()] == "" {
			disks[m.file()] = p.add(vmm.Disk{Path: m.file(), ReadOnly: o.onlyRead(m), Limits: o.Limits.Disk})
		}
		mount := proto.Mount{Disk: disks[m.file()], Path: m.Path, ReadOnly: m.ReadOnly, FS: m.RootFS}
		if m.Type == VolumeMount {
			mount.FS, mount.Folder, mount.Copy = "ext4", volume.Folder, !m.NoCopy
		}
		c.Mounts = append(c.Mounts, mount)
	}
}

// onlyRead says whether none of the mounts of a disk writes it.
func (o Options) onlyRead(m Mount) bool {
	return !slices.ContainsFunc(o.Mounts, func(other Mount) bool { return other.file() == m.file() && !other.ReadOnly })
}

// RemoveVolume removes a volume that no container has.
func (s *Store) RemoveVolume(name string) error {
	volumes, err := s.Volumes()
	if err != nil {
		return err
	}
	err = volumes.Remove(name)
	if !errors.Is(err, volume.ErrInUse) {
		return err
	}
	list, listErr := s.List()
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	var holders []string
	for _, c := range list {
		if slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Type == VolumeMount && m.Source == name }) {
			holders = append(holders, c.Label())
		}
	}
	return fmt.Errorf("%w by container %s: remove it first (mvm rm)", err, strings.Join(holders, ", "))
}
