package mmio

import (
	"fmt"

	"github.com/mvm-project/mvm/devices/virtio"
)

// Bits of the status register (spec 2.1).
const (
	acknowledge      = 1 << 0
	driver           = 1 << 1
	driverOK         = 1 << 2
	featuresOK       = 1 << 3
	statusNeedsReset = 1 << 6
	failed           = 1 << 7
)

// step is one the driver may take: from one status to the next. The status
// changes if enter, where there is one, agrees.
type step struct {
	from, to uint32
	enter    func(*Transport) bool
}

// steps are all there are beside reset and failure (spec 3.1.1).
func steps() [4]step {
	return [...]step{
		{0, acknowledge, nil},
		{acknowledge, acknowledge | driver, nil},
		{acknowledge | driver, acknowledge | driver | featuresOK, (*Transport).featuresAgreed},
		{acknowledge | driver | featuresOK, acknowledge | driver | featuresOK | driverOK, (*Transport).start},
	}
}

// status is the status register. t.mu is held.
func (t *Transport) status() uint32 {
	if t.broken.Load() != nil {
		return t.regs.status | statusNeedsReset
	}
	return t.regs.status
}

// writeStatus takes the step the driver asks for, if it is one. t.mu is held.
func (t *Transport) writeStatus(v uint32) {
	v &^= statusNeedsReset // ours; a driver that adds a bit writes it back
	switch {
	case v == 0:
		t.reset()
		return
	case v&failed != 0:
		t.regs.status |= failed // the driver has given up; only reset helps
		return
	}
	for _, s := range steps() {
		if t.regs.status == s.from && v == s.to {
			if s.enter == nil || s.enter(t) {
				t.regs.status = s.to
			}
			return
		}
	}
}

// featuresAgreed reports whether the device can work with what the driver
// accepted; the driver learns it by reading FEATURES_OK back.
func (t *Transport) featuresAgreed() bool {
	f := t.regs.driverFeatures
	return f&^t.offered == 0 && f&virtio.FeatureVersion1 != 0
}

// start begins service. What fails here is the driver's fault or the host's and
// ends like a bad ring: the device needs a reset. t.mu is held.
func (t *Transport) start() bool {
	queues, err := t.newQueues()
	if err == nil {
		err = t.dev.Start(t.regs.driverFeatures, queues)
	}
	if err != nil {
		t.fail(err)
		return true
	}
	t.running = true
	return true
}

// newQueues returns the queues as the driver laid them, nil for those it did not
// enable.
func (t *Transport) newQueues() ([]*virtio.Queue, error) {
	queues := make([]*virtio.Queue, len(t.regs.queues))
	for i, r := range t.regs.queues {
		if !r.ready {
			continue
		}
		q, err := t.newQueue(i, r)
		if err != nil {
			return nil, fmt.Errorf("queue %d: %w", i, err)
		}
		queues[i] = q
	}
	return queues, nil
}

func (t *Transport) newQueue(i int, r queueRegisters) (*virtio.Queue, error) {
	if r.num > uint32(t.sizes[i]) {
		return nil, fmt.Errorf("size %d is over %d", r.num, t.sizes[i])
	}
	return virtio.NewQueue(virtio.QueueConfig{
		Memory:    t.mem,
		Features:  t.regs.driverFeatures,
		Size:      uint16(r.num),
		Desc:      r.desc,
		Avail:     r.avail,
		Used:      r.used,
		Kick:      t.kicks[i],
		Spare:     t.spare,
		Interrupt: func() { t.interrupt(interruptUsed) },
		Fail:      func(err error) { t.fail(fmt.Errorf("queue %d: %w", i, err)) },
	})
}

// reset brings everything back to where New left it. t.mu is held.
func (t *Transport) reset() {
	t.stop()
	t.regs = registers{queues: make([]queueRegisters, len(t.sizes))}
	t.broken.Store(nil)
	t.interrupts.Store(0)
}

// stop returns when no goroutine of the device is left. t.mu is held; those
// goroutines never take it.
func (t *Transport) stop() {
	if !t.running {
		return
	}
	t.running = false
	if err := t.dev.Stop(); err != nil {
		t.fail(err)
	}
}
