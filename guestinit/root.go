package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// root is where a container's root file system is put together.
type root struct {
	proto.Root
	dir string
}

func (r root) imageDir() string { return r.dir + "/image" } // the read-only image disk
func (r root) layerDir() string { return r.dir + "/layer" } // the writable layer: a disk or a tmpfs
func (r root) mergedDir() string {
	return r.dir + "/root" // overlayfs of both: the container's root
}

// mount makes the container's root file system.
func (r root) mount() error {
	if r.ImageFS != "erofs" && r.ImageFS != "ext4" {
		return proto.Errorf(proto.Invalid, "image disk with file system %q: erofs or ext4 is needed", r.ImageFS)
	}
	layer := launch.Mount{Source: "layer", Target: r.layerDir(), FSType: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0755"}
	if r.keepsLayer() {
		layer = launch.Mount{Source: r.Layer, Target: r.layerDir(), FSType: "ext4", Flags: unix.MS_NOATIME, Data: r.layerOptions()}
	}
	if err := readAhead(r.Image); err != nil {
		return err
	}
	image := launch.Mount{Source: r.Image, Target: r.imageDir(), FSType: r.ImageFS, Flags: unix.MS_RDONLY}
	if err := launch.MountAll([]launch.Mount{image, layer}); err != nil {
		return err
	}
	upper, work := r.layerDir()+"/upper", r.layerDir()+"/work" // a disk has them already
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := copyMode(r.imageDir(), upper); err != nil {
		return err
	}
	return launch.MountAll([]launch.Mount{{
		Source: "overlay", Target: r.mergedDir(), FSType: "overlay",
		Data: "lowerdir=" + r.imageDir() + ",upperdir=" + upper + ",workdir=" + work,
	}})
}

// imageReadAhead is how much of the image is read at once, in sectors of 512
// bytes: 1 MiB. A request costs two switches to the host and a wake-up there,
// however long it is, and the host has the image in its page cache. The kernel's
// own 128 KiB makes a hundred requests of the start of a 10 MB program.
const imageReadAhead = 2048

// readAhead sets a disk's read-ahead, before it is mounted.
func readAhead(disk string) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRASET, imageReadAhead); err != nil {
		return fmt.Errorf("set the read-ahead of %s: %w", disk, err)
	}
	return nil
}

// keepsLayer says whether the writable layer is a disk.
func (r root) keepsLayer() bool { return r.Layer != "" && !r.ReadOnly }

// diskOptions keep ext4 from filling a sparse file with the zeros of inode tables
// and from reading every group's bitmap ahead, which nobody may need, and have it
// give back to the host what files that are removed took.
const diskOptions = "noinit_itable,no_prefetch_block_bitmaps,discard"

// layerOptions spares a layer that is thrown away afterwards the journal's ordering
// and barriers.
func (r root) layerOptions() string {
	if r.Discard {
		return diskOptions + ",data=writeback,barrier=0"
	}
	return diskOptions
}

// copyMode gives the upper folder the mode and owner of the image's root, which
// overlayfs takes from the upper one.
func copyMode(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return fmt.Errorf("stat %s: %w", from, err)
	}
	if err := unix.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("chown %s: %w", to, err)
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod %s: %w", to, err)
	}
	return nil
}

// unmount writes the writable layer to its disk and unmounts all. The write comes
// first: what still holds on to a mount, though it be a thread on its way out, keeps
// the layer's file system up and unwritten, whether unmounting succeeds or not.
func (r root) unmount() error {
	var lost, busy error
	if r.keepsLayer() && !r.Discard {
		lost = syncFS(r.layerDir())
	}
	for _, dir := range []string{r.mergedDir(), r.layerDir(), r.imageDir()} {
		err := unmountOrDetach(dir)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // was never mounted
			busy = errors.Join(busy, err)
		}
	}
	return errors.Join(lost, busy)
}

// unmountOrDetach unmounts what is at dir, or takes it out of sight if it is in use.
func unmountOrDetach(dir string) error {
	err := unix.Unmount(dir, 0)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(dir, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // was never mounted
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("write what is in %s to its disk: %w", dir, err)
	}
	return nil
}
