package mmio_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/mmio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

const allFeatures = virtio.FeatureVersion1 | virtio.FeatureEventIdx | 1<<3 | 1<<7

func TestIdentity(t *testing.T) {
	d := virtiotest.New(t, &probe{tb: t})
	for _, test := range []struct {
		name string
		reg  uint64
		want uint32
	}{
		{"MagicValue", virtiotest.RegMagicValue, 0x74726976},
		{"Version", virtiotest.RegVersion, 2},
		{"DeviceID", virtiotest.RegDeviceID, 42},
		{"Status", virtiotest.RegStatus, 0},
		{"InterruptStatus", virtiotest.RegInterruptStatus, 0},
		{"ConfigGeneration", virtiotest.RegConfigGeneration, 0},
		{"SHMLenLow", 0xb0, 0xffffffff},
		{"SHMLenHigh", 0xb4, 0xffffffff},
		{"a write-only one", virtiotest.RegQueueNotify, 0},
		{"none", 0xf8, 0},
	} {
		if got := d.Get(test.reg); got != test.want {
			t.Errorf("%s is %#x, want %#x", test.name, got, test.want)
		}
	}
	if got := d.Offered(); got != allFeatures {
		t.Errorf("offered features %#x, want %#x", got, uint64(allFeatures))
	}
	d.Set(virtiotest.RegDeviceFeaturesSel, 2)
	if got := d.Get(virtiotest.RegDeviceFeatures); got != 0 {
		t.Errorf("features 64 and up are %#x", got)
	}
	for i, want := range []uint32{16, 4, 0} {
		d.Set(virtiotest.RegQueueSel, uint32(i))
		if got := d.Get(virtiotest.RegQueueNumMax); got != want {
			t.Errorf("queue %d has up to %d entries, want %d", i, got, want)
		}
	}
}

func TestWidths(t *testing.T) {
	d := virtiotest.New(t, &probe{tb: t})
	for _, off := range []uint64{0, 1, 2, 4, virtiotest.RegStatus} {
		for _, n := range []int{0, 1, 2, 3, 4, 5, 8} {
			p := bytes.Repeat([]byte{0xee}, n)
			d.Transport.Read(off, p)
			if (n != 4 || off%4 != 0) && !bytes.Equal(p, make([]byte, n)) {
				t.Errorf("%d bytes at %#x read %x, want zeros", n, off, p)
			}
			if n != 4 {
				d.Transport.Write(virtiotest.RegStatus, []byte{1, 0, 0, 0, 0, 0, 0, 0}[:n])
				d.Transport.Write(virtiotest.RegStatus+2, []byte{1, 0, 0, 0})
			}
		}
	}
	if got := d.Get(virtiotest.RegStatus); got != 0 {
		t.Errorf("status %#x after writes of a wrong width", got)
	}
	p := []byte{1, 2, 3, 4}
	d.Transport.Read(mmio.Size, p)
	d.Transport.Write(mmio.Size+virtiotest.RegStatus, []byte{1, 0, 0, 0})
	if !bytes.Equal(p, make([]byte, 4)) {
		t.Errorf("past the page: %x", p)
	}
}

func TestConfig(t *testing.T) {
	d := virtiotest.New(t, &probe{tb: t})
	for _, test := range []struct {
		off  uint64
		want []byte
	}{
		{0, []byte{1}},
		{1, []byte{2, 3}},
		{4, []byte{5, 6, 7, 8}},
		{0, []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		{6, []byte{7, 8, 0, 0}},
		{8, []byte{0, 0}},
		{0xefc, []byte{0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		if got := d.Config(test.off, len(test.want)); !bytes.Equal(got, test.want) {
			t.Errorf("%d bytes at %d: %v, want %v", len(test.want), test.off, got, test.want)
		}
	}
}

// TestStatus walks through the status register. Each step is a write and what is
// read back.
func TestStatus(t *testing.T) {
	const a, ad, adf, adfo = 1, 3, 11, 15
	type step struct{ write, read uint32 }
	for _, test := range []struct {
		name  string
		steps []step
		runs  bool
	}{
		{"in order", []step{{a, a}, {ad, ad}, {adf, adf}, {adfo, adfo}}, true},
		{"reset", []step{{a, a}, {ad, ad}, {adf, adf}, {adfo, adfo}, {0, 0}}, false},
		{"reset half-way", []step{{a, a}, {ad, ad}, {0, 0}, {ad, 0}}, false},
		{"no acknowledge", []step{{2, 0}, {ad, 0}}, false},
		{"two at once", []step{{a, a}, {adf, a}, {adfo, a}}, false},
		{"without features", []step{{a, a}, {ad, ad}, {7, ad}}, false},
		{"back", []step{{a, a}, {ad, ad}, {a, ad}}, false},
		{"again", []step{{a, a}, {ad, ad}, {adf, adf}, {adfo, adfo}, {adfo, adfo}, {adf, adfo}}, true},
		{"unknown bits", []step{{a, a}, {ad | 32, a}, {1 << 20, a}}, false},
		{"failed", []step{{a, a}, {ad | 128, a | 128}, {ad, a | 128}, {0, 0}, {a, a}}, false},
		{"needs reset is ours", []step{{a | 64, a}, {64, 0}, {a, a}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &probe{tb: t}
			d := virtiotest.New(t, p)
			d.Set(virtiotest.RegStatus, 0)
			for i, s := range test.steps {
				d.Set(virtiotest.RegStatus, s.write)
				if d.Get(virtiotest.RegStatus) == ad {
					agree(d)
				}
				if got := d.Get(virtiotest.RegStatus); got != s.read {
					t.Fatalf("step %d: status %#x, want %#x", i, got, s.read)
				}
			}
			if p.running != test.runs {
				t.Errorf("device running: %v", p.running)
			}
		})
	}
}

// agree accepts VIRTIO_F_VERSION_1.
func agree(d *virtiotest.Driver) {
	d.Set(virtiotest.RegDriverFeaturesSel, 1)
	d.Set(virtiotest.RegDriverFeatures, 1)
}

func TestFeatures(t *testing.T) {
	for _, test := range []struct {
		name     string
		features uint64
		agreed   bool
	}{
		{"all", allFeatures, true},
		{"least", virtio.FeatureVersion1, true},
		{"none", 0, false},
		{"legacy", 1 << 3, false},
		{"one not offered", virtio.FeatureVersion1 | 1<<4, false},
		{"indirect descriptors", virtio.FeatureVersion1 | 1<<28, false},
		{"the last", virtio.FeatureVersion1 | 1<<63, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &probe{tb: t}
			d := virtiotest.New(t, p)
			if got := d.Negotiate(test.features); got != test.agreed {
				t.Fatalf("agreed: %v", got)
			}
			// Too late to change them.
			d.Set(virtiotest.RegDriverFeaturesSel, 0)
			d.Set(virtiotest.RegDriverFeatures, 0)
			d.Go()
			if p.running != test.agreed || p.features != test.features && test.agreed {
				t.Errorf("device running: %v with features %#x", p.running, p.features)
			}
		})
	}
}

// TestNotifyByExit kicks through the register.
func TestNotifyByExit(t *testing.T) {
	d := virtiotest.New(t, &probe{tb: t})
	d.Start(virtio.FeatureEventIdx)
	for i := range 2 {
		d.Queue(i).Add(d.Put([]byte("x")))
		d.Set(virtiotest.RegQueueNotify, uint32(i))
		d.Queue(i).Wait()
	}
	d.Set(virtiotest.RegQueueNotify, 2) // there is none
	d.Set(virtiotest.RegQueueNotify, 0xffffffff)
}

// TestInterruptStatus: a bit stays until it is acknowledged or the device is reset,
// and no other goes.
func TestInterruptStatus(t *testing.T) {
	tr, err := mmio.New(&probe{tb: t, refuse: errRefused}, virtiotest.NewRAM(0), nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close() //nolint:errcheck // TestClose looks at it
	write := func(reg uint64, v byte) { tr.Write(reg, []byte{v, 0, 0, 0}) }
	expect := func(when string, want byte) {
		t.Helper()
		var p [4]byte
		if tr.Read(virtiotest.RegInterruptStatus, p[:]); p[0] != want {
			t.Errorf("%s: %d, want %d", when, p[0], want)
		}
	}
	startFails := func() { // a configuration interrupt
		write(virtiotest.RegStatus, 1)
		write(virtiotest.RegStatus, 3)
		write(virtiotest.RegDriverFeaturesSel, 1)
		write(virtiotest.RegDriverFeatures, 1)
		write(virtiotest.RegStatus, 11)
		write(virtiotest.RegStatus, 15)
	}
	startFails()
	write(virtiotest.RegInterruptACK, 1)
	expect("another acknowledged", 2)
	write(virtiotest.RegInterruptACK, 2)
	expect("acknowledged", 0)
	if err := tr.Err(); !errors.Is(err, errRefused) {
		t.Errorf("Err is %v", err)
	}
	write(virtiotest.RegStatus, 0)
	startFails()
	expect("again", 2)
	write(virtiotest.RegStatus, 0)
	expect("reset", 0)
	if err := tr.Err(); err != nil {
		t.Errorf("after reset Err is %v", err)
	}
}

// TestFirstFailureIsKept has one queue after the other fail.
func TestFirstFailureIsKept(t *testing.T) {
	ended := make(chan bool, 2)
	d := virtiotest.New(t, &probe{tb: t, ended: func() { ended <- true }})
	d.Start(0)
	for i := range 2 {
		d.Queue(i).SetAvailIdx(100)
		d.Queue(i).ForceKick()
		<-ended
	}
	if err := d.Transport.Err(); err == nil || !strings.HasPrefix(err.Error(), "queue 0: ") {
		t.Errorf("Err is %v", err)
	}
}

func TestRestart(t *testing.T) {
	p := &probe{tb: t}
	d := virtiotest.New(t, p)
	for range 50 {
		d.Start(virtio.FeatureEventIdx)
		d.Queue(0).Do(d.Put([]byte("x")))
		d.Queue(1).Do(d.Put([]byte("x")))
	}
	d.Close()
	if p.starts != 50 || p.stops != 50 {
		t.Errorf("%d starts, %d stops", p.starts, p.stops)
	}
}

// TestClose: nothing is left, and late accesses do no harm.
func TestClose(t *testing.T) {
	virtiotest.New(t, &probe{tb: t}).Close() // the poller's own files are open from here on
	before := openFiles(t)
	p := &probe{tb: t}
	d := virtiotest.New(t, p)
	d.Start(0)
	if got := openFiles(t) - before; got != 2 {
		t.Errorf("%d files more are open, want 2 eventfds", got)
	}
	d.Close()
	d.Close()
	if p.running {
		t.Error("the device runs")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open, %d before", after, before)
	}
	d.Get(virtiotest.RegStatus)
	d.Negotiate(virtio.FeatureVersion1)
	d.Go()
	if p.starts != 1 {
		t.Error("a closed transport starts its device")
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestManyVCPUs has several vCPUs use the registers at once, resets among them,
// while the device works.
func TestManyVCPUs(t *testing.T) {
	d := virtiotest.New(t, &probe{tb: t})
	d.Start(virtio.FeatureEventIdx)
	for range 8 {
		d.Queue(0).Add(d.Put([]byte("x")))
	}
	var wg sync.WaitGroup
	for cpu := range 4 {
		wg.Go(func() {
			for i := range 300 {
				reg := uint64(cpu*300+i) * 4 % 0x100
				d.Get(reg)
				d.Set(reg, uint32(i)%16)
				d.Set(virtiotest.RegQueueNotify, uint32(i)%2)
				for _, s := range []uint32{0, 1, 3, 11, 15} {
					d.Set(virtiotest.RegStatus, s)
					agree(d)
				}
			}
		})
	}
	wg.Wait()
	d.Start(virtio.FeatureEventIdx)
	d.Queue(0).Do(d.Put([]byte("x")))
}
