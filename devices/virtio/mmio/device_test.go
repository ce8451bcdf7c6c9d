package mmio_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/mvm-project/mvm/devices/virtio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probe is a device that counts what it is told to do, and swallows chains.
type probe struct {
	tb      testing.TB
	workers virtio.Workers
	refuse  error  // what Start returns
	ended   func() // if set, called when the service of a queue ends

	running       bool
	starts, stops int
	features      uint64
	queues        []*virtio.Queue
}

func (*probe) Type() uint32         { return 42 }
func (*probe) Features() uint64     { return 1<<3 | 1<<7 }
func (*probe) QueueSizes() []uint16 { return []uint16{16, 4} }

func (*probe) ReadConfig(off uint32, p []byte) {
	if off < 8 {
		copy(p, []byte{1, 2, 3, 4, 5, 6, 7, 8}[off:])
	}
}

func (p *probe) Start(features uint64, queues []*virtio.Queue) error {
	if p.refuse != nil {
		return p.refuse
	}
	if p.running {
		p.tb.Error("a running device is started")
	}
	p.running, p.features, p.queues = true, features, queues
	p.starts++
	for _, q := range queues {
		p.workers.Go(q, func() { p.serve(q) })
	}
	return nil
}

func (p *probe) serve(q *virtio.Queue) {
	q.Serve(func(*virtio.Chain) (uint32, bool) { return 0, true })
	if p.ended != nil {
		p.ended()
	}
}

func (p *probe) Stop() error {
	if !p.running {
		p.tb.Error("a stopped device is stopped")
	}
	p.workers.Stop()
	p.running = false
	p.stops++
	return nil
}

var errRefused = errors.New("refused")
