// Package rng is the virtio entropy device (spec 5.4): it fills the driver's
// buffers with random bytes.
package rng

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/ratelimit"
)

const (
	deviceType = 4
	// queueSize is small: a driver has one request out at a time.
	queueSize = 8
	// maxRequest bounds the work of one request; the rest of a larger buffer
	// stays empty, which the device may do (spec 5.4.6.2).
	maxRequest = 64 << 10
)

// Device is the entropy device.
type Device struct {
	src     io.Reader
	limiter *ratelimit.Limiter
	workers virtio.Workers
}

// Host is the host kernel's random number generator as a reader, which never ends.
// crypto/rand would bring its certified generators into the VMM, which only ask
// the kernel in their turn, with 200 KiB of code.
type Host struct{}

// Read is getrandom(2), which waits for a generator that has no entropy yet.
func (Host) Read(p []byte) (int, error) {
	for {
		n, err := unix.Getrandom(p, 0)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// New returns a device that takes its bytes from src, such as Host, no faster
// than limiter allows. src is read by one goroutine; where it fails the driver
// gets fewer bytes.
func New(src io.Reader, limiter *ratelimit.Limiter) *Device {
	return &Device{src: src, limiter: limiter}
}

// Type implements virtio.Device.
func (*Device) Type() uint32 { return deviceType }

// Features implements virtio.Device: there are none.
func (*Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device.
func (*Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig implements virtio.Device: there is no configuration.
func (*Device) ReadConfig(uint32, []byte) {}

// Start implements virtio.Device.
func (d *Device) Start(_ uint64, queues []*virtio.Queue) error {
	q := queues[0]
	d.workers.Go(q, func() { q.Serve(func(c *virtio.Chain) (uint32, bool) { return d.fill(q, c) }) })
	return nil
}

// Stop implements virtio.Device.
func (d *Device) Stop() error {
	d.workers.Stop()
	return nil
}

// fill fills c and returns how many bytes it wrote.
func (d *Device) fill(q *virtio.Queue, c *virtio.Chain) (written uint32, ok bool) {
	c.Writable.Truncate(maxRequest)
	if !q.Admit(d.limiter, c.Writable.Len()) {
		return 0, false
	}
	for _, b := range c.Writable {
		n, err := io.ReadFull(d.src, b)
		written += uint32(n)
		if err != nil {
			break
		}
	}
	return written, true
}
