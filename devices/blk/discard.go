package blk

import (
	"encoding/binary"

	"github.com/mvm-project/mvm/devices/virtio"
)

// The data of a discard and of a write of zeros is a list of ranges (spec 5.2.6):
//
//	| sector u64 | sectors u32 | flags u32 |
const (
	rangeSize = 16
	// A request has at most maxRanges ranges, of at most maxRangeSectors (1 GiB)
	// each: as with maxSegments, it bounds how long one request can take.
	maxRanges       = 16
	maxRangeSectors = 1 << 30 / SectorSize
	// discardAlignment is in sectors: a host file gives back blocks of 4 KiB.
	discardAlignment = 8
	// flagUnmap lets a write of zeros give the range's place back.
	flagUnmap = 1
)

// clearRanges does a discard or a write of zeros. Ranges before a bad one are done.
func (d *Device) clearRanges(b *virtio.Buffers, kind uint32) byte {
	n := b.Len()
	if n == 0 || n%rangeSize != 0 || n > maxRanges*rangeSize {
		return statusIOErr
	}
	for len(*b) > 0 {
		if status := d.clearRange(b, kind); status != statusOK {
			return status
		}
	}
	if d.writeThrough {
		return d.flush() // there will be no other (spec 5.2.6.2)
	}
	return statusOK
}

// clearRange does the range at the front of b, which it drops.
func (d *Device) clearRange(b *virtio.Buffers, kind uint32) byte {
	_, _ = b.Read(d.rangeBytes[:]) // the one read of it; b has whole ones
	sector := binary.LittleEndian.Uint64(d.rangeBytes[0:])
	sectors := uint64(binary.LittleEndian.Uint32(d.rangeBytes[8:]))
	flags := binary.LittleEndian.Uint32(d.rangeBytes[12:])
	if flags&^flagUnmap != 0 || kind == typeDiscard && flags != 0 {
		return statusUnsupported
	}
	if sectors > maxRangeSectors || sector > d.sectors || sectors > d.sectors-sector {
		return statusIOErr
	}
	if sectors == 0 {
		return statusOK
	}
	off, size := int64(sector*SectorSize), int64(sectors*SectorSize)
	if kind == typeDiscard || flags&flagUnmap != 0 {
		return statusOf(d.backend.Discard(off, size))
	}
	return statusOf(d.backend.Zero(off, size))
}
