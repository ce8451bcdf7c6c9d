package virtiotest

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/mmio"
)

// Registers of the transport by offset (spec 4.2.2).
const (
	RegMagicValue        = 0x000
	RegVersion           = 0x004
	RegDeviceID          = 0x008
	RegVendorID          = 0x00c
	RegDeviceFeatures    = 0x010
	RegDeviceFeaturesSel = 0x014
	RegDriverFeatures    = 0x020
	RegDriverFeaturesSel = 0x024
	RegQueueSel          = 0x030
	RegQueueNumMax       = 0x034
	RegQueueNum          = 0x038
	RegQueueReady        = 0x044
	RegQueueNotify       = 0x050
	RegInterruptStatus   = 0x060
	RegInterruptACK      = 0x064
	RegStatus            = 0x070
	RegQueueDescLow      = 0x080
	RegQueueDescHigh     = 0x084
	RegQueueDriverLow    = 0x090
	RegQueueDriverHigh   = 0x094
	RegQueueDeviceLow    = 0x0a0
	RegQueueDeviceHigh   = 0x0a4
	RegConfigGeneration  = 0x0fc
	RegConfig            = 0x100
)

// Bits of RegStatus (spec 2.1).
const (
	Acknowledge = 1
	DriverBit   = 2
	DriverOK    = 4
	FeaturesOK  = 8
	NeedsReset  = 64
	Failed      = 128
)

// ramSize is enough for the queues and buffers of a test.
const ramSize = 4 << 20

// Driver drives one device.
type Driver struct {
	*RAM
	Transport *mmio.Transport

	tb     testing.TB
	queues []*Queue
	wake   []chan struct{} // one per queue: the device interrupted
	reset  chan struct{}   // the device said that it needs a reset
	line   chan struct{}   // the interrupt line rose
	stop   func()          // ends interrupts
	ended  chan struct{}   // closed when interrupts has ended

	count atomic.Int64
	one   [8]byte // the number 1, as eventfds are written
}

// New puts dev behind a transport. The driver is closed when the test ends.
func New(tb testing.TB, dev virtio.Device) *Driver {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	d := &Driver{
		RAM:   NewRAM(ramSize),
		tb:    tb,
		reset: make(chan struct{}, 1),
		line:  make(chan struct{}, 1),
		stop:  stop,
		ended: make(chan struct{}),
	}
	t, err := mmio.New(dev, d.RAM, virtio.NewSpare(1), d.Raise)
	if err != nil {
		tb.Fatal(err)
	}
	d.Transport = t
	binary.NativeEndian.PutUint64(d.one[:], 1)
	for range t.Kicks() {
		d.queues = append(d.queues, nil)
		d.wake = append(d.wake, make(chan struct{}, 1))
	}
	go d.interrupts(ctx)
	tb.Cleanup(d.Close)
	return d
}

// Close closes the transport, and returns when the driver's own goroutine has
// ended too. It may be called again.
func (d *Driver) Close() {
	if err := d.Transport.Close(); err != nil {
		d.tb.Errorf("virtiotest: close the transport: %v", err)
	}
	d.stop()
	<-d.ended
}

// Raise is an edge on the device's interrupt line.
func (d *Driver) Raise() {
	d.count.Add(1)
	poke(d.line)
}

// interrupts is the driver's interrupt handler, until Close.
func (d *Driver) interrupts(ctx context.Context) {
	defer close(d.ended)
	var reg [4]byte
	for {
		select {
		case <-d.line:
		case <-ctx.Done():
			return
		}
		d.Transport.Read(RegInterruptStatus, reg[:])
		d.Transport.Write(RegInterruptACK, reg[:])
		if reg[0]&2 != 0 {
			d.config()
		}
		for _, w := range d.wake {
			poke(w)
		}
	}
}

// config handles the notification of a configuration change (spec 2.1.2).
func (d *Driver) config() {
	if d.Get(RegStatus)&NeedsReset != 0 {
		poke(d.reset)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Interrupts is how many interrupts the device has raised so far, at least as
// many as were seen by a Wait that returned.
func (d *Driver) Interrupts() int { return int(d.count.Load()) }

// Get reads a register.
func (d *Driver) Get(reg uint64) uint32 {
	var p [4]byte
	d.Transport.Read(reg, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

// Set writes a register.
func (d *Driver) Set(reg uint64, v uint32) {
	d.Transport.Write(reg, binary.LittleEndian.AppendUint32(nil, v))
}

// Config returns n bytes of the device configuration space at off.
func (d *Driver) Config(off uint64, n int) []byte {
	p := make([]byte, n)
	d.Transport.Read(RegConfig+off, p)
	return p
}

// Start brings the device from any state into service: reset, features, every
// queue at its largest size, DRIVER_OK. Of features those that the device offers are
// accepted, and VIRTIO_F_VERSION_1. The test fails if the device refuses.
func (d *Driver) Start(features uint64) {
	d.tb.Helper()
	if !d.Negotiate(d.Offered()&features | virtio.FeatureVersion1) {
		d.tb.Fatalf("virtiotest: the device refuses features %#x", features)
	}
	for i := range d.queues {
		d.Lay(i, 0)
	}
	d.Go()
	if s := d.Get(RegStatus); s&NeedsReset != 0 {
		d.tb.Fatalf("virtiotest: the device does not start: %v", d.Transport.Err())
	}
}

// Offered reads the features that the device offers.
func (d *Driver) Offered() uint64 {
	d.Set(RegDeviceFeaturesSel, 1)
	high := d.Get(RegDeviceFeatures)
	d.Set(RegDeviceFeaturesSel, 0)
	return uint64(high)<<32 | uint64(d.Get(RegDeviceFeatures))
}

// Negotiate resets the device and takes it up to FEATURES_OK with exactly
// features accepted, and reports whether the device agrees.
func (d *Driver) Negotiate(features uint64) bool {
	d.Set(RegStatus, 0)
	clear(d.queues)
	d.Set(RegStatus, Acknowledge)
	d.Set(RegStatus, Acknowledge|DriverBit)
	d.Set(RegDriverFeaturesSel, 0)
	d.Set(RegDriverFeatures, uint32(features))
	d.Set(RegDriverFeaturesSel, 1)
	d.Set(RegDriverFeatures, uint32(features>>32))
	d.Set(RegStatus, Acknowledge|DriverBit|FeaturesOK)
	if d.Get(RegStatus)&FeaturesOK == 0 {
		return false
	}
	for i := range d.queues {
		d.queues[i] = &Queue{
			d: d, index: i, eventIdx: features&virtio.FeatureEventIdx != 0,
			timer: time.NewTimer(patience),
		}
	}
	return true
}

// Lay lays queue i with the given size, 0 for the largest, and makes it ready.
func (d *Driver) Lay(i int, size uint16) *Queue {
	d.tb.Helper()
	d.Set(RegQueueSel, uint32(i))
	if size == 0 {
		size = uint16(d.Get(RegQueueNumMax))
	}
	q := d.queues[i]
	q.lay(size)
	d.Set(RegQueueNum, uint32(size))
	d.setAddress(RegQueueDescLow, q.DescAt)
	d.setAddress(RegQueueDriverLow, q.AvailAt)
	d.setAddress(RegQueueDeviceLow, q.UsedAt)
	d.Set(RegQueueReady, 1)
	return q
}

func (d *Driver) setAddress(reg uint64, gpa uint64) {
	d.Set(reg, uint32(gpa))
	d.Set(reg+4, uint32(gpa>>32))
}

// Go sets DRIVER_OK.
func (d *Driver) Go() {
	d.Set(RegStatus, Acknowledge|DriverBit|FeaturesOK|DriverOK)
}

// Queue is queue i of the device as last negotiated.
func (d *Driver) Queue(i int) *Queue { return d.queues[i] }

// WaitReset returns when the device has said that it needs a reset, with the reason
// its transport gives.
func (d *Driver) WaitReset() error {
	d.tb.Helper()
	d.wait(d.reset, time.NewTimer(patience), "the device to need a reset")
	return d.Transport.Err()
}

// Buffer is one piece of a chain.
type Buffer struct {
	Addr     uint64
	Len      uint32
	Writable bool // by the device
}

// Put returns a readable buffer that holds a copy of p.
func (d *Driver) Put(p []byte) Buffer {
	d.tb.Helper()
	b := Buffer{Addr: d.Alloc(d.tb, len(p), 1), Len: uint32(len(p))}
	copy(d.Bytes(b), p)
	return b
}

// Room returns a writable buffer of n zeroed bytes.
func (d *Driver) Room(n int) Buffer {
	d.tb.Helper()
	return Buffer{Addr: d.Alloc(d.tb, n, 1), Len: uint32(n), Writable: true}
}

// Bytes is what b holds: RAM itself, the device's while the chain is out.
func (d *Driver) Bytes(b Buffer) []byte {
	d.tb.Helper()
	p, err := d.Slice(b.Addr, int(b.Len))
	if err != nil {
		d.tb.Fatal(err)
	}
	return p
}
