// Package blk is the virtio block device (spec 5.2): a disk for the guest over a
// file, or anything that can be read and written at an offset.
package blk

import (
	"encoding/binary"
	"io"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/ratelimit"
)

// Backend is what holds the disk's bytes. One goroutine at a time uses it.
type Backend interface {
	io.ReaderAt
	io.WriterAt
	// Size is in bytes and does not change; a last part of a sector is not used.
	Size() int64
	// Sync returns when all that was written will outlive a crash of the host.
	Sync() error
	// Discard makes n bytes at off read as zeros and gives back the room they
	// took; Zero keeps it. A backend that cannot returns errors.ErrUnsupported.
	Discard(off, n int64) error
	Zero(off, n int64) error
}

// SectorSize is the unit of addresses and sizes, in bytes.
const SectorSize = 512

const (
	deviceType = 2
	// queueSize allows 64 requests of a header, a page and a status byte at once.
	// One worker does them in turn, so more only cost the guest memory.
	queueSize = 128
	// A request has at most maxSegments pieces of data beside its header and its
	// status byte, of at most maxSegment bytes each. The driver keeps to that; what
	// it bounds is how long one request can take, and so Stop.
	maxSegments = queueSize - 2
	maxSegment  = 1 << 20
)

// Feature bits (spec 5.2.3). VIRTIO_BLK_F_BLK_SIZE is not offered: drivers take
// 512 bytes without it, and each field is an exit at boot.
const (
	featureSizeMax  = 1 << 1
	featureSegMax   = 1 << 2
	featureReadOnly = 1 << 5
	featureFlush    = 1 << 9
	featureDiscard  = 1 << 13
	featureZeroes   = 1 << 14
)

// Config is what a disk is beside its bytes.
type Config struct {
	// ReadOnly fails every write.
	ReadOnly bool
	// ID is the disk's serial number in the guest, cut to 20 bytes.
	ID string
	// Limiter bounds reads and writes together; a flush, a discard and a write of
	// zeros are one op and no bytes.
	// nil is no limit.
	Limiter *ratelimit.Limiter
}

// Device is the block device.
type Device struct {
	backend Backend
	file    *File // backend, if it is a file: for vectored I/O
	cfg     Config
	sectors uint64
	workers virtio.Workers

	// Of the worker.
	writeThrough bool // the driver does not flush
	vector       virtio.Vector
	header       [headerSize]byte
	rangeBytes   [rangeSize]byte
}

// New returns a disk over backend, which must stay open until the device is
// stopped. The caller closes it.
func New(backend Backend, cfg Config) *Device {
	d := &Device{backend: backend, cfg: cfg, sectors: uint64(backend.Size()) / SectorSize}
	d.file, _ = backend.(*File)
	return d
}

// Type implements virtio.Device.
func (*Device) Type() uint32 { return deviceType }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	if d.cfg.ReadOnly {
		return featureSizeMax | featureSegMax | featureReadOnly
	}
	return featureSizeMax | featureSegMax | featureFlush | featureDiscard | featureZeroes
}

// QueueSizes implements virtio.Device: one request queue.
func (*Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig implements virtio.Device (spec 5.2.4): capacity in sectors, size_max,
// seg_max, and the bounds of discards and of writes of zeros; the other fields
// belong to features not offered.
func (d *Device) ReadConfig(off uint32, p []byte) {
	var c [60]byte
	binary.LittleEndian.PutUint64(c[0:], d.sectors)
	binary.LittleEndian.PutUint32(c[8:], maxSegment)
	binary.LittleEndian.PutUint32(c[12:], maxSegments)
	if !d.cfg.ReadOnly {
		binary.LittleEndian.PutUint32(c[36:], maxRangeSectors)
		binary.LittleEndian.PutUint32(c[40:], maxRanges)
		binary.LittleEndian.PutUint32(c[44:], discardAlignment)
		binary.LittleEndian.PutUint32(c[48:], maxRangeSectors)
		binary.LittleEndian.PutUint32(c[52:], maxRanges)
		c[56] = 1 // a write of zeros may give room back
	}
	if off < uint32(len(c)) {
		copy(p, c[off:])
	}
}

// Start implements virtio.Device.
func (d *Device) Start(features uint64, queues []*virtio.Queue) error {
	d.writeThrough = features&featureFlush == 0
	q := queues[0]
	d.workers.Go(q, func() { q.Serve(func(c *virtio.Chain) (uint32, bool) { return d.handle(q, c) }) })
	return nil
}

// Stop implements virtio.Device.
func (d *Device) Stop() error {
	d.workers.Stop()
	return nil
}
