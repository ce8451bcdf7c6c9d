// Package rootfs merges the layers of a container image into one tree and
// writes that tree as a read-only EROFS disk.
//
//	layer tars, lowest first          the disk, blocks of 4 KiB
//	  | headers -> tree in memory       | 0: superblock
//	  | file data ----- as it comes --> | data of files, each from a new block
//	  |                                 | data of large directories
//	  | Finish: the tree -------------> | inodes, small directories, symlinks
//
// File data is written once, when its layer is read. What a later layer removes
// is punched out again, so that it costs no space. The tree never touches the
// host's file system: a name that tries to escape meets the tree's own root.
//
// The same layers give the same bytes.
package rootfs

// Limits on what one image may ask for. An image is untrusted: each bound keeps
// a hostile one from taking the host's memory, time or disk.
const (
	// maxName is the longest file name, in bytes (EROFS_NAME_LEN, NAME_MAX).
	maxName = 255
	// maxPath is the longest path in a layer and the longest symlink target, in
	// bytes (PATH_MAX).
	maxPath = 4096
	// maxDepth is how many directories deep the tree may be.
	maxDepth = 2048
	// maxLinks is how many symlinks one path may cross (as Linux: MAXSYMLINKS).
	maxLinks = 40
	// maxSteps is how many directories and symlinks all paths of an image may
	// cross together: it bounds the time that paths take. A million files ten
	// directories deep cross ten million.
	maxSteps = 1 << 28
	// maxXattrs is the size of one inode's extended attributes, in bytes; an
	// EROFS inode could say 4*65534.
	maxXattrs = 64 << 10
)

// inodeCost is about what one name and its inode take in memory, in bytes.
const inodeCost = 320

// limits are the bounds that hold for all layers together.
type limits struct {
	tree int64 // memory for the tree, in bytes, counted roughly
	data int64 // size of all files, in bytes, holes included
}

func defaultLimits() limits { return limits{tree: 1 << 30, data: 256 << 30} }
