// Package mmio is the virtio-mmio transport, version 2 (spec 4.2): the page of
// registers through which a guest's driver finds a device, agrees on features,
// lays its queues and starts it.
package mmio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
)

// Size is how many bytes of guest-physical address space a transport takes.
const Size = 0x1000

// NotifyOffset is where the driver's kicks are written: 4 bytes whose value is
// the index of the queue. A write there costs least as an ioeventfd on Kicks.
const NotifyOffset = regQueueNotify

// Transport puts a device behind registers. Any number of vCPUs may use it at
// once.
type Transport struct {
	dev     virtio.Device
	mem     virtio.Memory
	spare   *virtio.Spare
	offered uint64
	sizes   []uint16
	kicks   []*os.File
	raise   func()  // the interrupt line, an edge
	one     [8]byte // the number 1, as eventfds are written

	// What the device's own goroutines touch is atomic, since they must never
	// wait for mu: reset holds it while it waits for them.
	interrupts atomic.Uint32         // InterruptStatus
	broken     atomic.Pointer[error] // why the device needs a reset, nil if it does not

	mu      sync.Mutex // guards what follows, and calls of dev
	regs    registers
	running bool // dev was started and not stopped
	closed  bool
}

// New returns a transport with dev behind it, reset; raise is an edge on its
// interrupt line. It holds an eventfd for each of dev's queues, until Close.
func New(dev virtio.Device, mem virtio.Memory, spare *virtio.Spare, raise func()) (*Transport, error) {
	t := &Transport{
		dev:     dev,
		mem:     mem,
		spare:   spare,
		raise:   raise,
		offered: dev.Features() | virtio.FeatureVersion1 | virtio.FeatureEventIdx,
		sizes:   dev.QueueSizes(),
	}
	binary.NativeEndian.PutUint64(t.one[:], 1)
	t.regs.queues = make([]queueRegisters, len(t.sizes))
	for i := range t.sizes {
		f, err := newEventfd(fmt.Sprintf("kick %d", i))
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.kicks = append(t.kicks, f)
	}
	return t, nil
}

// newEventfd returns an eventfd that goes through the netpoller.
func newEventfd(name string) (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "eventfd:"+name), nil
}

// Kicks are the eventfds by which the driver notifies, one per queue: wire each
// to a 4-byte write of its index at NotifyOffset. The transport closes them.
func (t *Transport) Kicks() []*os.File { return t.kicks }

// Err says why the device needs a reset: a bad ring, or a failed start. It is nil
// while all is well and after the driver's reset.
func (t *Transport) Err() error {
	if p := t.broken.Load(); p != nil {
		return *p
	}
	return nil
}

// Read fills p from the registers or the configuration space at off. Registers
// are read by 32 bits at their own offset; all else reads as zero.
func (t *Transport) Read(off uint64, p []byte) {
	clear(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case off >= Size:
	case off >= regConfig:
		t.dev.ReadConfig(uint32(off-regConfig), p)
	case len(p) == 4:
		binary.LittleEndian.PutUint32(p, t.read(off))
	}
}

// Write sets the register at off from p, which is 32 bits; all other writes are
// ignored. Devices have no configuration that the driver could write.
func (t *Transport) Write(off uint64, p []byte) {
	if len(p) != 4 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.write(off, binary.LittleEndian.Uint32(p))
	}
}

// Close stops the device, returns when its goroutines have ended, and closes the
// eventfds. Reads and writes after it are harmless.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.stop()
	var err error
	for _, f := range t.kicks {
		err = errors.Join(err, f.Close())
	}
	return err
}

// kick notifies a queue's worker, for kicks that arrive as an exit. It fails only
// when the eventfd is closed, and then nobody listens.
func (t *Transport) kick(queue uint32) {
	if queue < uint32(len(t.kicks)) {
		_, _ = t.kicks[queue].Write(t.one[:])
	}
}

// interrupt raises the line with the given cause.
func (t *Transport) interrupt(cause uint32) {
	// First the cause: the driver reads it as soon as the line rises.
	t.interrupts.Or(cause)
	t.raise()
}

// fail puts the device into the state that only a reset ends, and tells the
// driver (spec 2.1.2). The first cause is kept.
func (t *Transport) fail(err error) {
	if t.broken.CompareAndSwap(nil, &err) {
		t.interrupt(interruptConfig)
	}
}
