package mmio_test

import (
	"strings"
	"testing"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// TestQueueRegisters: they count between FEATURES_OK and DRIVER_OK, and not while
// the queue is ready.
func TestQueueRegisters(t *testing.T) {
	p := &probe{tb: t}
	d := virtiotest.New(t, p)
	ready := func(when string, want uint32) {
		t.Helper()
		if got := d.Get(virtiotest.RegQueueReady); got != want {
			t.Errorf("%s: QueueReady is %d, want %d", when, got, want)
		}
	}
	d.Set(virtiotest.RegQueueReady, 1)
	ready("after reset", 0)
	d.Negotiate(virtio.FeatureVersion1)
	d.Set(virtiotest.RegQueueReady, 2)
	ready("2 written", 0)
	d.Lay(0, 8)
	ready("laid", 1)
	d.Set(virtiotest.RegQueueNum, 3)             // ignored, as is
	d.Set(virtiotest.RegQueueDescLow, 0xfffffff) // that
	d.Set(virtiotest.RegQueueSel, 2)             // there is none
	ready("no such queue", 0)
	d.Set(virtiotest.RegQueueReady, 1)
	ready("no such queue", 0)
	d.Go()
	d.Set(virtiotest.RegQueueSel, 0)
	d.Set(virtiotest.RegQueueReady, 0)
	ready("running", 1)
	if err := d.Transport.Err(); err != nil || p.queues[0].Size() != 8 {
		t.Errorf("queue 0 of size %d (%v), want 8", p.queues[0].Size(), err)
	}
	if p.queues[1] != nil {
		t.Error("queue 1, which was not enabled, is there")
	}
	d.Set(virtiotest.RegStatus, 0)
	ready("after reset", 0)
}

// TestBadStart: what the driver laid wrong, or the device refuses, ends in
// DEVICE_NEEDS_RESET with an interrupt.
func TestBadStart(t *testing.T) {
	for _, test := range []struct {
		name, want string
		refuse     error
		spoil      func(d *virtiotest.Driver)
	}{
		{"refused", "refused", errRefused, func(*virtiotest.Driver) {}},
		{"size over the largest", "queue 1: size 32 is over 4", nil, func(d *virtiotest.Driver) { lay(d, 32, virtiotest.Base) }},
		{"size of 17 bits", "queue 1: size 65540 is over 4", nil, func(d *virtiotest.Driver) { lay(d, 1<<16+4, virtiotest.Base) }},
		{"no power of two", "queue 1: queue size 3", nil, func(d *virtiotest.Driver) { lay(d, 3, virtiotest.Base) }},
		{"no size", "queue 1: queue size 0", nil, func(d *virtiotest.Driver) { lay(d, 0, virtiotest.Base) }},
		{"not RAM", "queue 1: descriptor table", nil, func(d *virtiotest.Driver) { lay(d, 4, 0xfee00000) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &probe{tb: t, refuse: test.refuse}
			d := virtiotest.New(t, p)
			d.Negotiate(virtio.FeatureVersion1)
			d.Lay(0, 0)
			test.spoil(d)
			d.Go()
			if err := d.WaitReset(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if got := d.Get(virtiotest.RegStatus); got != 15|virtiotest.NeedsReset {
				t.Errorf("status %#x", got)
			}
			if p.running {
				t.Error("the device runs")
			}
			p.refuse = nil
			d.Start(0)
			d.Queue(0).Do(d.Put([]byte("x")))
		})
	}
}

// lay lays queue 1, all areas at gpa.
func lay(d *virtiotest.Driver, size uint32, gpa uint64) {
	d.Set(virtiotest.RegQueueSel, 1)
	d.Set(virtiotest.RegQueueNum, size)
	for _, reg := range []uint64{virtiotest.RegQueueDescLow, virtiotest.RegQueueDriverLow, virtiotest.RegQueueDeviceLow} {
		d.Set(reg, uint32(gpa))
		d.Set(reg+4, uint32(gpa>>32))
	}
	d.Set(virtiotest.RegQueueReady, 1)
}
