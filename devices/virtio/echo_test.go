package virtio_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/mvm-project/mvm/devices/virtio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a device with two queues, which copies what it reads of a chain to
// what it may write.
type echo struct {
	workers virtio.Workers
	queues  []*virtio.Queue
	buf     [2][]byte
	// before, if set, is called with each chain.
	before func()
}

func (*echo) Type() uint32              { return 42 }
func (*echo) Features() uint64          { return 1<<3 | 1<<7 }
func (*echo) QueueSizes() []uint16      { return []uint16{16, 4} }
func (*echo) ReadConfig(uint32, []byte) {}

func (e *echo) Start(_ uint64, queues []*virtio.Queue) error {
	e.queues = queues
	for i, q := range queues {
		e.workers.Go(q, func() { q.Serve(func(c *virtio.Chain) (uint32, bool) { return e.handle(c, &e.buf[i]), true }) })
	}
	return nil
}

func (e *echo) Stop() error {
	e.workers.Stop()
	return nil
}

func (e *echo) handle(c *virtio.Chain, buf *[]byte) uint32 {
	if e.before != nil {
		e.before()
	}
	if n := c.Readable.Len(); n > len(*buf) {
		*buf = make([]byte, n)
	}
	n, _ := c.Readable.Read(*buf)
	n, _ = c.Writable.Write((*buf)[:n])
	return uint32(n)
}

// both runs f with and without event indices.
func both(t *testing.T, f func(t *testing.T, features uint64)) {
	t.Run("event indices", func(t *testing.T) { f(t, virtio.FeatureEventIdx) })
	t.Run("flags", func(t *testing.T) { f(t, 0) })
}
