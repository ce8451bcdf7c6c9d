package rootfs

import (
	"slices"
	"strings"
)

// layout places the inodes of a tree: nids are offsets into the metadata area,
// in slots of 32 bytes.
type layout struct {
	nodes []*inode
	dirs  []parented // in the order of nodes
	end   int64      // of the metadata so far, in bytes
}

// parented is a directory with the one that holds it.
type parented struct {
	dir, parent *inode
}

// entries are a directory's entries in the order of the disk: by the bytes of
// their names, "." and ".." among them.
func (d parented) entries() []entry {
	list := make([]entry, 0, len(d.dir.children)+2)
	list = append(list, entry{".", d.dir}, entry{"..", d.parent})
	for name, e := range d.dir.children {
		list = append(list, entry{name, e.node})
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return list
}

// plan places all inodes, a directory's ones together.
func plan(root *inode) *layout {
	// Slot 0 stays free: inode number 0 means "no file" to readdir(3).
	l := &layout{end: inodeSize}
	l.place(root, l.dirSize(parented{root, root}))
	l.dirs = []parented{{root, root}}
	for i := 0; i < len(l.dirs); i++ {
		d := l.dirs[i]
		d.dir.nlink = 2
		for _, e := range d.entries() {
			if e.node.nid == 0 { // else "." or "..", or one more name of a file
				l.add(e.node, d.dir)
			}
		}
	}
	return l
}

// add places an inode that is in the directory parent.
func (l *layout) add(n, parent *inode) {
	switch n.kind() {
	case typeDir:
		parent.nlink++
		d := parented{n, parent}
		l.dirs = append(l.dirs, d)
		l.place(n, l.dirSize(d))
	case typeLink:
		l.place(n, int64(len(n.target)))
	default:
		l.place(n, 0)
	}
}

func (l *layout) dirSize(d parented) int64 { return direntsSize(d.entries()) }

// place gives n its nid, with size bytes right after it if a block can hold
// all. No inode begins in one block and ends in the next: it has the size of
// two slots, and starts at an even one.
func (l *layout) place(n *inode, size int64) {
	head := inodeSize + n.xattrSize()
	n.inline = size > 0 && head+size <= blockSize
	if n.inline {
		head += size
	}
	l.end = align(l.end, inodeSize)
	if n.inline && l.end%blockSize+head > blockSize {
		l.end = align(l.end, blockSize)
	}
	n.nid = uint64(l.end / slotSize)
	l.nodes = append(l.nodes, n)
	n.ino = uint32(len(l.nodes))
	l.end += head
}

// writeTree ends the disk: the data of large directories and symlinks, the
// inodes, then the superblock.
func (d *disk) writeTree(root *inode, id [16]byte) error {
	l := plan(root)
	if err := d.writeApart(l); err != nil {
		return err
	}
	s := superblock{root: root, inodes: len(l.nodes), meta: d.end() / blockSize, id: id}
	if err := d.writeInodes(l); err != nil {
		return err
	}
	if err := d.finish(); err != nil {
		return err
	}
	s.blocks = d.end() / blockSize
	block, err := s.encode()
	if err != nil {
		return err
	}
	_, err = d.file.WriteAt(block, 0)
	return err
}

// writeApart writes the data of directories and symlinks too large to stand
// beside their inodes, and notes where.
func (d *disk) writeApart(l *layout) error {
	for _, p := range l.dirs {
		if !p.dir.inline {
			if err := d.writeBlocks(p.dir, putDirents(nil, p.entries())); err != nil {
				return err
			}
		}
	}
	for _, n := range l.nodes {
		if n.kind() == typeLink && !n.inline {
			if err := d.writeBlocks(n, []byte(n.target)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *disk) writeBlocks(n *inode, data []byte) error {
	n.block = uint32(d.end() / blockSize)
	if _, err := d.Write(data); err != nil {
		return err
	}
	return d.pad()
}

// writeInodes writes the metadata area as it was planned.
func (d *disk) writeInodes(l *layout) error {
	parents := make(map[*inode]*inode, len(l.dirs))
	for _, p := range l.dirs {
		parents[p.dir] = p.parent
	}
	start := d.end()
	var buf []byte
	for _, n := range l.nodes {
		if err := d.zeroTo(start + int64(n.nid)*slotSize); err != nil {
			return err
		}
		buf = n.append(buf[:0], parents[n])
		if _, err := d.Write(buf); err != nil {
			return err
		}
	}
	return d.pad()
}

// zeroTo appends zeros up to an offset of the file less than a block away.
func (d *disk) zeroTo(off int64) error {
	_, err := d.Write(zeros[:off-d.end()])
	return err
}

// append encodes an inode with what follows it; parent is that of a directory.
func (n *inode) append(p []byte, parent *inode) []byte {
	switch n.kind() {
	case typeDir:
		entries := parented{n, parent}.entries()
		p = n.putXattrs(n.putInode(p, direntsSize(entries)))
		if n.inline {
			p = append(p, putDirents(nil, entries)...)
		}
	case typeLink:
		p = n.putXattrs(n.putInode(p, int64(len(n.target))))
		if n.inline {
			p = append(p, n.target...)
		}
	default:
		p = n.putXattrs(n.putInode(p, n.size))
	}
	return p
}
