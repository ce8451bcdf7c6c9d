package virtio_test

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// config is a queue of 8 at the beginning of fresh RAM, which nobody serves.
func config(tb testing.TB) virtio.QueueConfig {
	tb.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	kick := os.NewFile(uintptr(fd), "eventfd:kick")
	tb.Cleanup(func() { _ = kick.Close() })
	return virtio.QueueConfig{
		Memory:    virtiotest.NewRAM(1 << 16),
		Size:      8,
		Desc:      virtiotest.Base,
		Avail:     virtiotest.Base + 0x1000,
		Used:      virtiotest.Base + 0x2000,
		Kick:      kick,
		Interrupt: func() {},
		Fail:      func(err error) { tb.Errorf("the queue fails: %v", err) },
	}
}

func TestNewQueueRefuses(t *testing.T) {
	const end = virtiotest.Base + 1<<16
	for _, test := range []struct {
		name, want string
		change     func(c *virtio.QueueConfig)
	}{
		{"size 0", "queue size 0 is not a power of two", func(c *virtio.QueueConfig) { c.Size = 0 }},
		{"odd size", "queue size 12", func(c *virtio.QueueConfig) { c.Size = 12 }},
		{"descriptors not aligned", "descriptor table at 0x100008 is not aligned to 16", func(c *virtio.QueueConfig) { c.Desc += 8 }},
		{"available ring not aligned", "not aligned to 2", func(c *virtio.QueueConfig) { c.Avail++ }},
		{"used ring not aligned", "not aligned to 4", func(c *virtio.QueueConfig) { c.Used += 2 }},
		{"descriptors past RAM", "descriptor table: 128 bytes", func(c *virtio.QueueConfig) { c.Desc = end - 112 }},
		{"available ring past RAM", "available ring: 22 bytes", func(c *virtio.QueueConfig) { c.Avail = end - 20 }},
		{"used ring past RAM", "used ring: 70 bytes", func(c *virtio.QueueConfig) { c.Used = end - 68 }},
		{"at address 0", "not RAM", func(c *virtio.QueueConfig) { c.Desc = 0 }},
		{"at the end of addresses", "not RAM", func(c *virtio.QueueConfig) { c.Used = 1<<64 - 4 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(t)
			test.change(&c)
			if _, err := virtio.NewQueue(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestNewQueueWantsPollableKick(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // blocking: Stop could not wake a reader
	if err != nil {
		t.Fatal(err)
	}
	c := config(t)
	c.Kick = os.NewFile(uintptr(fd), "eventfd:kick")
	defer c.Kick.Close()
	if _, err := virtio.NewQueue(c); err == nil {
		t.Error("a blocking eventfd is accepted")
	}
}

// TestRingAtEndOfRAM has each area end with RAM.
func TestRingAtEndOfRAM(t *testing.T) {
	const end = virtiotest.Base + 1<<16
	for _, size := range []uint16{1, 2, 8, 1024} {
		for _, features := range []uint64{0, virtio.FeatureEventIdx} {
			c := config(t)
			c.Size, c.Features = size, features
			c.Avail = end - 6 - 2*uint64(size)
			if _, err := virtio.NewQueue(c); err != nil {
				t.Errorf("size %d: %v", size, err)
			}
			c.Avail = virtiotest.Base + 0x8000 + 2 // even, but no multiple of 4
			c.Used = end - 8 - 8*uint64(size)
			c.Desc = end - 16*uint64(size)
			q, err := virtio.NewQueue(c)
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			if q.Next(new(virtio.Chain)) {
				t.Errorf("size %d: an empty ring has a chain", size)
			}
		}
	}
}

// TestStopBeforeWait has the queue stopped while a kick is there.
func TestStopBeforeWait(t *testing.T) {
	c := config(t)
	q, err := virtio.NewQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kick.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	q.Stop()
	if q.Wait() {
		t.Error("a stopped queue waits")
	}
	// The next queue on this eventfd finds the kick.
	if q, err = virtio.NewQueue(c); err != nil {
		t.Fatal(err)
	}
	if !q.Wait() {
		t.Error("a new queue does not wait")
	}
}

// emptyChains makes a queue in which the driver has put n empty chains, at
// descriptor 0.
func emptyChains(t *testing.T, c virtio.QueueConfig, n byte) *virtio.Queue {
	t.Helper()
	q, err := virtio.NewQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	ram, err := c.Memory.Slice(virtiotest.Base, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	ram[0x1002] = n // idx
	return q
}

// TestStopped: neither Next nor Wait see the chain that is there.
func TestStopped(t *testing.T) {
	c := config(t)
	q := emptyChains(t, c, 2)
	if !q.Next(new(virtio.Chain)) {
		t.Fatal("no chain")
	}
	q.Stop()
	if q.Wait() {
		t.Error("a stopped queue waits")
	}
	if q.Next(new(virtio.Chain)) {
		t.Error("a stopped queue gives a chain")
	}
}

// TestFlags looks at VIRTQ_USED_F_NO_NOTIFY before and after a kick.
func TestFlags(t *testing.T) {
	c := config(t)
	q, err := virtio.NewQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	used, err := c.Memory.Slice(c.Used, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"new", "kicked"} {
		if used[0] != 1 {
			t.Errorf("%s: flags are %d, want 1", when, used[0])
		}
		if _, err := c.Kick.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if !q.Wait() {
			t.Fatal("no kick")
		}
	}
	if used[0] != 1 {
		t.Errorf("in the end: flags are %d, want 1", used[0])
	}
}

// TestUsedEvent flushes chains from index from to index to, with the driver waiting
// for the one at event.
func TestUsedEvent(t *testing.T) {
	for _, test := range []struct {
		from, to, event uint16
		want            int
	}{
		{0, 1, 0, 1},
		{0, 1, 65535, 0},
		{0, 1, 1, 0},
		{0, 8, 0, 1},
		{0, 8, 7, 1},
		{0, 8, 8, 0},
		{5, 8, 4, 0},
		{5, 8, 5, 1},
		{65534, 1, 65533, 0},
		{65534, 1, 65534, 1},
		{65534, 1, 0, 1},
		{65534, 1, 1, 0},
	} {
		c := config(t)
		got := 0
		c.Features, c.Interrupt = virtio.FeatureEventIdx, func() { got++ }
		c.State.Used = test.from
		q, err := virtio.NewQueue(c)
		if err != nil {
			t.Fatal(err)
		}
		avail, err := c.Memory.Slice(c.Avail, 22)
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint16(avail[20:], test.event)
		for range test.to - test.from {
			q.Push(new(virtio.Chain), 0)
		}
		q.Flush()
		q.Flush() // nothing new
		if got != test.want {
			t.Errorf("from %d to %d, event %d: %d interrupts, want %d", test.from, test.to, test.event, got, test.want)
		}
	}
}

// TestStopUnderLoad stops a device whose driver, against the rules, never lets
// its ring run empty.
func TestStopUnderLoad(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		busy := make(chan bool, 1)
		d := virtiotest.New(t, &echo{before: func() {
			select {
			case busy <- true:
			default:
			}
		}})
		d.Start(features)
		q, end, ended := d.Queue(0), make(chan bool), make(chan bool)
		in := d.Put([]byte("x"))
		go func() {
			defer close(ended)
			for {
				select {
				case <-end:
					return
				default:
				}
				for q.Free() > 0 {
					q.Add(in)
				}
				q.Kick()
				for ok := true; ok; _, _, ok = q.Used() {
				}
			}
		}()
		for range 100 {
			<-busy
		}
		d.Set(virtiotest.RegStatus, 0) // returns when the worker has ended
		close(end)
		<-ended
	})
}

// TestResume stops a queue between two requests and goes on with a new one from
// its state, in the same rings.
func TestResume(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		e := new(echo)
		d := virtiotest.New(t, e)
		d.Start(features)
		for range 100 {
			echoes(t, d, 0)
			if err := e.Stop(); err != nil {
				t.Fatal(err)
			}
			// Offered while nobody serves; the new queue finds it without a kick.
			in := d.Put([]byte("y"))
			d.Queue(0).Add(in)
			if err := e.Start(features, resumed(t, d, e, features)); err != nil {
				t.Fatal(err)
			}
			d.Queue(0).Wait()
		}
	})
}

// resumed returns e's queue 0 as a restore makes it.
func resumed(t *testing.T, d *virtiotest.Driver, e *echo, features uint64) []*virtio.Queue {
	t.Helper()
	q, err := virtio.NewQueue(virtio.QueueConfig{
		Memory:    d.RAM,
		Features:  features,
		Size:      e.queues[0].Size(),
		Desc:      d.Queue(0).DescAt,
		Avail:     d.Queue(0).AvailAt,
		Used:      d.Queue(0).UsedAt,
		State:     e.queues[0].State(),
		Kick:      d.Transport.Kicks()[0],
		Interrupt: d.Raise,
		Fail:      func(err error) { t.Errorf("the queue fails: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return []*virtio.Queue{q, nil}
}
