// Package net is the virtio network device (spec 5.1): one queue for frames to
// the guest, one for frames from it, and a file at the other end that carries a
// frame per read and per write.
//
//	guest -> host   the tx goroutine: one writev from guest memory per frame
//	host -> guest   the rx goroutine: one readv into guest memory per frame
//
// Frames are never looked into. Those that the other end does not take, too short
// for an Ethernet header or too long, are dropped, as on a wire.
package net

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/ratelimit"
)

const (
	deviceType       = 1
	queueSize        = 256
	rxQueue, txQueue = 0, 1
)

// Feature bits (spec 5.1.3).
const (
	featureCsum      = 1 << 0
	featureGuestCsum = 1 << 1
	featureMTU       = 1 << 3
	featureMAC       = 1 << 5
	featureGuestTSO4 = 1 << 7
	featureGuestTSO6 = 1 << 8
	featureGuestECN  = 1 << 9
	featureHostTSO4  = 1 << 11
	featureHostTSO6  = 1 << 12
	featureHostECN   = 1 << 13
	featureMrgRxbuf  = 1 << 15
	featureStatus    = 1 << 16
)

const (
	// headerSize is that of struct virtio_net_hdr with num_buffers, which every
	// driver of version 1 puts before a frame (spec 5.1.6.1).
	headerSize = 12
	numBuffers = 10 // offset of the number of chains a frame takes

	// minFrame is an Ethernet header: what is shorter is no frame. maxFrame is a
	// segment to be cut, with a VLAN tag: 64 KiB behind that header.
	minFrame = 14
	maxFrame = minFrame + 4 + math.MaxUint16

	defaultMTU = 1500
)

// Config is what an interface is beside its Link.
type Config struct {
	MAC [6]byte
	// MTU in bytes, 0 for Ethernet's 1500.
	MTU uint16
	// RX limits what the guest receives, TX what it sends: an op is a frame, which
	// before segmentation may hold many packets' data. nil is no limit.
	RX, TX *ratelimit.Limiter
}

// Device is the network device.
type Device struct {
	link    *Link
	cfg     Config
	workers virtio.Workers
}

// New returns an interface on link, which must stay open until the device is
// stopped. The caller closes it.
func New(link *Link, cfg Config) *Device {
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	return &Device{link: link, cfg: cfg}
}

// Type implements virtio.Device.
func (*Device) Type() uint32 { return deviceType }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	f := uint64(featureMAC | featureMrgRxbuf | featureStatus)
	if d.cfg.MTU != defaultMTU {
		f |= featureMTU
	}
	return f | d.link.features()
}

// QueueSizes implements virtio.Device.
func (*Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize} }

// ReadConfig implements virtio.Device (spec 5.1.4): mac, status, then the number of
// queue pairs, which belongs to a feature not offered, and mtu. The link is always
// up.
func (d *Device) ReadConfig(off uint32, p []byte) {
	const linkUp = 1
	c := d.cfg.MAC[:]
	c = binary.LittleEndian.AppendUint16(c[:len(c):len(c)], linkUp)
	c = binary.LittleEndian.AppendUint16(c, 1)
	c = binary.LittleEndian.AppendUint16(c, d.cfg.MTU)
	if off < uint32(len(c)) {
		copy(p, c[off:])
	}
}

// Start implements virtio.Device.
func (d *Device) Start(features uint64, queues []*virtio.Queue) error {
	if queues[rxQueue] == nil || queues[txQueue] == nil {
		return errors.New("net: the driver left a queue disabled")
	}
	if err := d.link.start(features); err != nil {
		return err
	}
	r := newReceiver(d, queues[rxQueue], features)
	t := &sender{d: d, q: queues[txQueue]}
	t.try = t.write
	d.workers.Go(r.q, r.serve)
	d.workers.Go(t.q, func() { t.q.Serve(t.handle) })
	return nil
}

// Stop implements virtio.Device.
func (d *Device) Stop() error {
	d.link.stop()
	d.workers.Stop()
	return nil
}

// longest is the longest frame that either side sends, in bytes.
func (d *Device) longest(segments bool) int {
	if segments {
		return maxFrame
	}
	return minFrame + 4 + int(d.cfg.MTU)
}
