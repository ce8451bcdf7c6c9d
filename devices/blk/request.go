package blk

import (
	"encoding/binary"
	"errors"

	"github.com/mvm-project/mvm/devices/virtio"
)

// A request (spec 5.2.6) is a readable header, data in one direction, and one
// writable byte at the very end for the status:
//
//	| type u32 | reserved u32 | sector u64 | data ... | status u8 |
const (
	headerSize = 16
	idSize     = 20
)

// Types of requests.
const (
	typeIn      = 0
	typeOut     = 1
	typeFlush   = 4
	typeGetID   = 8
	typeDiscard = 11
	typeZeroes  = 13
)

// Status bytes.
const (
	statusOK          = 0
	statusIOErr       = 1
	statusUnsupported = 2
)

// handle does one request and returns how many bytes of c's writable part are
// filled. What goes wrong with the request or the backend is its status, and
// harms no other request.
func (d *Device) handle(q *virtio.Queue, c *virtio.Chain) (written uint32, ok bool) {
	status := cutStatus(&c.Writable)
	if status == nil {
		return 0, true // nowhere to say how it went: the driver's own loss
	}
	// The one read of the header; it may be split over descriptors (spec 2.7.4.2).
	n, _ := c.Readable.Read(d.header[:])
	clear(d.header[n:])
	if !q.Admit(d.cfg.Limiter, d.size(c)) {
		return 0, false
	}
	room := c.Writable.Len()
	if n < headerSize {
		*status = statusIOErr
	} else {
		*status = d.request(c)
	}
	filled := room - c.Writable.Len()
	if filled == room {
		filled++ // the status byte follows at once
	}
	return uint32(filled), true
}

// size is how many bytes the request wants to read or write.
func (d *Device) size(c *virtio.Chain) int {
	switch binary.LittleEndian.Uint32(d.header[0:]) {
	case typeIn:
		return c.Writable.Len()
	case typeOut:
		return c.Readable.Len()
	}
	return 0
}

// cutStatus removes the last byte of b and returns it, nil if b is empty.
func cutStatus(b *virtio.Buffers) *byte {
	if len(*b) == 0 {
		return nil
	}
	last := (*b)[len(*b)-1]
	b.Truncate(b.Len() - 1)
	return &last[len(last)-1]
}

// request does what d.header says and returns the status. It drops from
// c.Writable what it filled.
func (d *Device) request(c *virtio.Chain) byte {
	kind := binary.LittleEndian.Uint32(d.header[0:])
	sector := binary.LittleEndian.Uint64(d.header[8:])
	switch {
	case kind == typeIn:
		return d.read(&c.Writable, sector)
	case kind == typeOut:
		return d.write(&c.Readable, sector)
	case kind == typeFlush && !d.cfg.ReadOnly:
		return d.flush()
	case (kind == typeDiscard || kind == typeZeroes) && !d.cfg.ReadOnly:
		return d.clearRanges(&c.Readable, kind)
	case kind == typeGetID:
		return d.id(&c.Writable)
	}
	return statusUnsupported
}

func (d *Device) read(b *virtio.Buffers, sector uint64) byte {
	off, ok := d.offset(*b, sector)
	if !ok {
		return statusIOErr
	}
	if d.file != nil {
		return statusOf(d.vector.ReadAt(d.file.file, b, off))
	}
	for len(*b) > 0 {
		want := len((*b)[0])
		n, err := d.backend.ReadAt((*b)[0], off)
		b.Drop(n)
		if n < want {
			return statusOf(err)
		}
		off += int64(n)
	}
	return statusOK
}

func (d *Device) write(b *virtio.Buffers, sector uint64) byte {
	off, ok := d.offset(*b, sector)
	if !ok || d.cfg.ReadOnly {
		return statusIOErr
	}
	if err := d.writeAt(b, off); err != nil {
		return statusOf(err)
	}
	if d.writeThrough {
		return d.flush() // there will be no other (spec 5.2.6.2)
	}
	return statusOK
}

func (d *Device) writeAt(b *virtio.Buffers, off int64) error {
	if d.file != nil {
		return d.vector.WriteAt(d.file.file, b, off)
	}
	for _, p := range *b {
		n, err := d.backend.WriteAt(p, off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

func (d *Device) flush() byte { return statusOf(d.backend.Sync()) }

// id writes the serial number, padded with zeros; it ends without one if it is 20
// bytes long (spec 5.2.6).
func (d *Device) id(b *virtio.Buffers) byte {
	var id [idSize]byte
	copy(id[:], d.cfg.ID)
	_, _ = b.Write(id[:]) // a smaller buffer gets its beginning
	return statusOK
}

func statusOf(err error) byte {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, errors.ErrUnsupported):
		return statusUnsupported
	}
	return statusIOErr
}

// offset is where in the backend sector is, if all of b is inside the disk and
// whole sectors.
func (d *Device) offset(b virtio.Buffers, sector uint64) (int64, bool) {
	n := uint64(b.Len()) // under 4 GiB, as every chain
	if n%SectorSize != 0 || n > maxSegments*maxSegment {
		return 0, false
	}
	if sector > d.sectors || n/SectorSize > d.sectors-sector {
		return 0, false
	}
	return int64(sector * SectorSize), true
}
