package rootfs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// The EROFS format, as Linux's fs/erofs/erofs_fs.h defines it; of it, what an
// uncompressed disk of one device needs.
const (
	superMagic  = 0xE0F5E1E2
	superOffset = 1024
	superSize   = 128

	compatChecksum = 0x1 // the superblock has a checksum
	compatMtime    = 0x2 // inode times are modification times

	inodeSize   = 64 // an extended inode
	slotSize    = 32 // what a nid counts
	direntSize  = 12
	xattrHeader = 12
	xattrEntry  = 4

	layoutPlain  = 0 // data in blocks of its own
	layoutInline = 2 // data right after the inode and its attributes

	blockBits = 12
)

// splitXattr gives the index of a name's prefix and the rest of the name; index
// 0 means that EROFS knows no such prefix.
func splitXattr(name string) (byte, string) {
	for _, p := range []struct {
		prefix string
		index  byte
	}{{"user.", 1}, {aclUser, 2}, {aclDir, 3}, {"trusted.", 4}, {"security.", 6}} {
		if rest, ok := strings.CutPrefix(name, p.prefix); ok {
			return p.index, rest
		}
	}
	return 0, name
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// xattrSize is the length of an inode's attributes on the disk.
func (n *inode) xattrSize() int64 {
	if len(n.xattrs) == 0 {
		return 0
	}
	size := int64(xattrHeader)
	for _, x := range n.xattrs {
		_, suffix := splitXattr(x.name)
		size += align(int64(xattrEntry+len(suffix)+len(x.value)), 4)
	}
	return size
}

// putXattrs appends an inode's attributes.
func (n *inode) putXattrs(p []byte) []byte {
	if len(n.xattrs) == 0 {
		return p
	}
	p = append(p, make([]byte, xattrHeader)...)
	for _, x := range n.xattrs {
		index, suffix := splitXattr(x.name)
		p = append(p, byte(len(suffix)), index)
		p = binary.LittleEndian.AppendUint16(p, uint16(len(x.value)))
		p = append(p, suffix...)
		p = append(p, x.value...)
		p = append(p, zeros[:-len(p)&3]...)
	}
	return p
}

// putInode appends an extended inode.
func (n *inode) putInode(p []byte, size int64) []byte {
	layout, icount := uint16(layoutPlain), uint16(0)
	if n.inline {
		layout = layoutInline
	}
	if x := n.xattrSize(); x > 0 {
		icount = uint16((x-xattrHeader)/4 + 1)
	}
	data := n.block
	if k := n.kind(); k == typeChar || k == typeBlk {
		data = n.rdev
	}
	le := binary.LittleEndian
	p = le.AppendUint16(p, 1|layout<<1)
	p = le.AppendUint16(p, icount)
	p = le.AppendUint16(p, uint16(n.mode))
	p = le.AppendUint16(p, 0)
	p = le.AppendUint64(p, uint64(size))
	p = le.AppendUint32(p, data)
	p = le.AppendUint32(p, n.ino)
	p = le.AppendUint32(p, n.uid)
	p = le.AppendUint32(p, n.gid)
	p = le.AppendUint64(p, uint64(n.mtime))
	p = le.AppendUint32(p, n.nsec)
	p = le.AppendUint32(p, n.nlink)
	return append(p, make([]byte, 16)...)
}

// entry is a directory's entry as EROFS stores it.
type entry struct {
	name string
	node *inode
}

// fileType is the type in an entry (FT_REG_FILE and so on).
func (n *inode) fileType() byte {
	switch n.kind() {
	case typeReg:
		return 1
	case typeDir:
		return 2
	case typeChar:
		return 3
	case typeBlk:
		return 4
	case typeFIFO:
		return 5
	default:
		return 7 // symlink
	}
}

// cut returns how many of the entries fit into one block and what they take.
func cut(entries []entry) (count int, size int64) {
	for _, e := range entries {
		if size+int64(direntSize+len(e.name)) > blockSize {
			break
		}
		size += int64(direntSize + len(e.name))
		count++
	}
	return count, size
}

// direntsSize is the length of a directory's data: whole blocks but for the
// last, which ends with its last name.
func direntsSize(entries []entry) int64 {
	size := int64(0)
	for len(entries) > 0 {
		count, used := cut(entries)
		size = align(size, blockSize) + used
		entries = entries[count:]
	}
	return size
}

// putDirents appends a directory's data to p, which begins with it.
func putDirents(p []byte, entries []entry) []byte {
	for len(entries) > 0 {
		p = append(p, make([]byte, align(int64(len(p)), blockSize)-int64(len(p)))...)
		count, _ := cut(entries)
		name := count * direntSize
		for _, e := range entries[:count] {
			p = binary.LittleEndian.AppendUint64(p, e.node.nid)
			p = binary.LittleEndian.AppendUint16(p, uint16(name))
			p = append(p, e.node.fileType(), 0)
			name += len(e.name)
		}
		for _, e := range entries[:count] {
			p = append(p, e.name...)
		}
		entries = entries[count:]
	}
	return p
}

// superblock describes a disk.
type superblock struct {
	root   *inode
	inodes int
	blocks int64 // of the whole disk
	meta   int64 // the block that nids count from
	id     [16]byte
}

// encode gives block 0.
func (s superblock) encode() ([]byte, error) {
	if s.blocks >= 1<<32 || s.root.nid >= 1<<16 {
		return nil, fmt.Errorf("disk of %d blocks, root at %d: too large for EROFS", s.blocks, s.root.nid)
	}
	block := make([]byte, blockSize)
	p, le := block[superOffset:superOffset+superSize], binary.LittleEndian
	le.PutUint32(p[0:], superMagic)
	le.PutUint32(p[8:], compatChecksum|compatMtime)
	p[12] = blockBits
	le.PutUint16(p[14:], uint16(s.root.nid))
	le.PutUint64(p[16:], uint64(s.inodes))
	le.PutUint32(p[36:], uint32(s.blocks))
	le.PutUint32(p[40:], uint32(s.meta))
	copy(p[48:64], s.id[:])
	// CRC-32C of the rest of the block, without the usual last inversion.
	sum := crc32.Checksum(block[superOffset:], crc32.MakeTable(crc32.Castagnoli))
	le.PutUint32(p[4:], ^sum)
	return block, nil
}
