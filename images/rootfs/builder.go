package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// Builder makes one disk of one image's layers. It is for one goroutine.
type Builder struct {
	tree tree
	disk *disk
}

// New starts a disk in f, an empty file opened for writing, which stays the
// caller's to sync and close. After an error the file is of no use.
func New(f *os.File) *Builder { return newBuilder(f, defaultLimits()) }

func newBuilder(f *os.File, l limits) *Builder {
	b := &Builder{disk: newDisk(f, l.data)}
	b.tree.limit = l.tree
	b.tree.drop = b.disk.drop
	b.tree.root = b.tree.newDir()
	return b
}

// Layer puts an uncompressed layer tar on top of those before it. It reads r up
// to the tar's end mark; ctx is looked at before every read.
func (b *Builder) Layer(ctx context.Context, r io.Reader) error {
	b.tree.layer++
	tr := tar.NewReader(&ctxReader{ctx, r})
	data := &ctxReader{ctx, tr}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("read the layer's tar: %w", err)
		}
		if err := b.entry(h, data); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

// ctxReader ends with ctx.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

const (
	whiteout = ".wh."
	// whiteoutMeta begins the names of AUFS's own files, which are not part of
	// the tree; but for opaque.
	whiteoutMeta = ".wh..wh."
	opaque       = ".wh..wh..opq"
)

func (b *Builder) entry(h *tar.Header, data io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := b.tree.charge(inodeCost); err != nil {
		return err
	}
	if strings.ContainsRune(h.Name, 0) || strings.ContainsRune(h.Linkname, 0) {
		return errors.New("a name with a zero byte")
	}
	if metaPath(h.Name) {
		return nil
	}
	parts := split(h.Name)
	if len(parts) > 0 && strings.HasPrefix(parts[len(parts)-1], whiteout) {
		return b.hide(h.Name, parts[len(parts)-1])
	}
	return b.add(h, data)
}

// metaPath says whether a path is one of AUFS's own files or below one.
func metaPath(path string) bool {
	for _, p := range split(path) {
		if strings.HasPrefix(p, whiteoutMeta) && p != opaque {
			return true
		}
	}
	return false
}

// hide applies a whiteout.
func (b *Builder) hide(path, base string) error {
	name := strings.TrimPrefix(base, whiteout)
	if name == "" || name == "." || name == ".." {
		return errors.New("a whiteout of no name")
	}
	p, err := b.tree.find(path, false)
	switch {
	case errors.Is(err, errMissing):
		return nil
	case err != nil:
		return err
	case base == opaque:
		return b.tree.hideAll(p.dir)
	}
	return b.tree.hide(p.dir, name)
}

// add puts an entry that is no whiteout into the tree.
func (b *Builder) add(h *tar.Header, data io.Reader) error {
	if h.Typeflag == tar.TypeLink {
		return b.link(h)
	}
	n, err := newInode(h)
	if err != nil {
		return err
	}
	if err := b.tree.charge(n.strings()); err != nil {
		return err
	}
	p, err := b.tree.find(h.Name, true)
	if err != nil {
		return err
	}
	if n.isDir() {
		return b.addDir(p, n)
	}
	if p.name == "" {
		return errors.New("the root is no directory")
	}
	if n.kind() == typeReg {
		n.size = h.Size
		if n.block, err = b.disk.appendFile(data, h.Size); err != nil {
			return err
		}
	}
	return b.tree.put(p, n)
}

// addDir makes a directory, or describes anew the one that is there.
func (b *Builder) addDir(p place, n *inode) error {
	if p.name == "" {
		b.tree.root.describe(n)
		return nil
	}
	if old, ok := p.dir.children[p.name]; ok && old.node.isDir() {
		old.node.describe(n)
		p.dir.children[p.name] = dirent{old.node, b.tree.layer}
		return nil
	}
	dir := b.tree.newDir()
	dir.describe(n)
	return b.tree.put(p, dir)
}

// describe gives a directory the attributes of another.
func (n *inode) describe(from *inode) {
	n.mode, n.uid, n.gid = from.mode, from.uid, from.gid
	n.mtime, n.nsec, n.xattrs = from.mtime, from.nsec, from.xattrs
}

// strings is the length of what n holds beside its own struct.
func (n *inode) strings() int {
	sum := len(n.target)
	for _, x := range n.xattrs {
		sum += len(x.name) + len(x.value)
	}
	return sum
}

// link gives an existing file one more name. The header's own attributes are
// not looked at: they are the file's.
func (b *Builder) link(h *tar.Header) error {
	from, err := b.tree.find(h.Linkname, false)
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", h.Linkname, err)
	}
	e, ok := from.dir.children[from.name]
	if !ok {
		return fmt.Errorf("hard link to %.200q: %w", h.Linkname, errMissing)
	}
	if e.node.isDir() {
		return fmt.Errorf("hard link to %.200q: it is a directory", h.Linkname)
	}
	to, err := b.tree.find(h.Name, true)
	if err != nil {
		return err
	}
	if to.name == "" {
		return errors.New("the root is no directory")
	}
	// find may have removed the file, to put a directory in its place.
	if e.node.nlink == 0 {
		return fmt.Errorf("hard link to %.200q: %w", h.Linkname, errMissing)
	}
	return b.tree.put(to, e.node)
}

// newInode reads an entry's type and attributes, data and size left out. Strings
// are copied: those of the header are parts of one of up to a MiB, which they
// would keep.
func newInode(h *tar.Header) (*inode, error) {
	n := &inode{
		mode:  uint32(h.Mode) & permMask,
		mtime: h.ModTime.Unix(),
		nsec:  uint32(h.ModTime.Nanosecond()),
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32 || h.Gid > math.MaxUint32 {
		return nil, fmt.Errorf("owner %d:%d is no user of Linux", h.Uid, h.Gid)
	}
	n.uid, n.gid = uint32(h.Uid), uint32(h.Gid)
	if err := n.setType(h); err != nil {
		return nil, err
	}
	return n, n.setXattrs(h.PAXRecords)
}

func (n *inode) setType(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		n.mode |= typeReg
	case tar.TypeDir:
		n.mode |= typeDir
	case tar.TypeFifo:
		n.mode |= typeFIFO
	case tar.TypeSymlink:
		return n.setTarget(h.Linkname)
	case tar.TypeChar:
		n.mode |= typeChar
		return n.setDevice(h.Devmajor, h.Devminor)
	case tar.TypeBlock:
		n.mode |= typeBlk
		return n.setDevice(h.Devmajor, h.Devminor)
	default:
		return fmt.Errorf("a tar entry of unknown type %q", h.Typeflag)
	}
	return nil
}

func (n *inode) setTarget(target string) error {
	if target == "" || len(target) >= maxPath {
		return fmt.Errorf("symlink to a name of %d bytes", len(target))
	}
	n.mode, n.target = typeLink|0o777, strings.Clone(target)
	return nil
}

// setDevice encodes a device number as Linux's new_encode_dev does.
func (n *inode) setDevice(major, minor int64) error {
	if major < 0 || major >= 1<<12 || minor < 0 || minor >= 1<<20 {
		return fmt.Errorf("device %d:%d: Linux has majors below 4096 and minors below 1048576", major, minor)
	}
	n.rdev = uint32(minor&0xff | major<<8 | minor>>8<<20)
	return nil
}

const (
	paxXattr = "SCHILY.xattr."
	aclUser  = "system.posix_acl_access"
	aclDir   = "system.posix_acl_default"
)

// setXattrs takes the attributes that Linux would let a file of an image have.
func (n *inode) setXattrs(pax map[string]string) error {
	sum := 0
	for key, value := range pax {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !keepXattr(name) {
			continue
		}
		if len(name) > maxName || sum+len(name)+len(value)+8 > maxXattrs {
			return fmt.Errorf("extended attributes of more than %d bytes", maxXattrs)
		}
		sum += len(name) + len(value) + 8
		n.xattrs = append(n.xattrs, xattr{strings.Clone(name), strings.Clone(value)})
	}
	slices.SortFunc(n.xattrs, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return nil
}

// keepXattr leaves out names that only a running system gives meaning to, and
// overlayfs's own: the tree is merged, and the guest mounts an overlay on it.
func keepXattr(name string) bool {
	if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	index, suffix := splitXattr(name)
	return index != 0 && (suffix != "" || name == aclUser || name == aclDir)
}

// Finish writes the tree's inodes and the superblock; id becomes the disk's UUID.
func (b *Builder) Finish(id [16]byte) error {
	return b.disk.writeTree(b.tree.root, id)
}
