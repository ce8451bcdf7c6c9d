package blk_test

import (
	"testing"
	"time"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
	"github.com/mvm-project/mvm/ratelimit"
)

// TestLimiterCharges looks at what each kind of request costs.
func TestLimiterCharges(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(d *virtiotest.Driver)
		bytes uint64
	}{
		{"read", func(d *virtiotest.Driver) { request(d, in, 0, d.Room(1024)) }, 1024},
		{"write", func(d *virtiotest.Driver) { request(d, out, 0, d.Put(pattern(512))) }, 512},
		{"flush", func(d *virtiotest.Driver) { request(d, flush, 0) }, 0},
		{"discard", func(d *virtiotest.Driver) { request(d, discard, 0, d.Put(ranges(span{0, 8, 0}))) }, 0},
		{"id", func(d *virtiotest.Driver) { request(d, getID, 0, d.Room(20)) }, 0},
		{"unknown", func(d *virtiotest.Driver) { request(d, 99, 0, d.Room(512)) }, 0},
		{"short", func(d *virtiotest.Driver) { d.Queue(0).Do(d.Put([]byte{1, 0, 0, 0}), d.Room(1)) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := ratelimit.New(ratelimit.Limits{})
			d := virtiotest.New(t, blk.New(&disk{bytes: pattern(4096)}, blk.Config{Limiter: l}))
			d.Start(featureFlush)
			test.do(d)
			if s, want := l.Stats(), (ratelimit.Stats{Ops: 1, Bytes: test.bytes}); s != want {
				t.Errorf("%+v, want %+v", s, want)
			}
		})
	}
}

// TestStopWhileThrottled has a request that would wait for an hour: what came
// before it is given back at once, Stop does not wait, and after a new start the
// request is still there.
func TestStopWhileThrottled(t *testing.T) {
	l := ratelimit.New(ratelimit.Limits{Ops: &ratelimit.Bucket{Size: 2, Refill: time.Hour}})
	b := &disk{bytes: pattern(4096)}
	d := virtiotest.New(t, blk.New(b, blk.Config{Limiter: l}))
	d.Start(featureFlush | virtio.FeatureEventIdx)
	q, data := d.Queue(0), d.Put(make([]byte, 512))
	for range 3 {
		q.Add(d.Put(header(out, 0)), data, d.Room(1))
	}
	q.Kick()
	q.Wait()
	q.Wait()
	for l.Stats().Throttled == 0 {
		time.Sleep(time.Millisecond)
	}
	d.Set(virtiotest.RegStatus, 0) // returns when the device has stopped
	if n := b.written.Load(); n != 1024 {
		t.Errorf("%d bytes written, want 1024", n)
	}
	if _, _, used := q.Used(); used {
		t.Error("the request that waited was given back")
	}
	l.Update(ratelimit.Limits{Ops: &ratelimit.Bucket{}})
	d.Start(featureFlush)
	if status, _ := request(d, in, 0, d.Room(512)); status != ok {
		t.Errorf("after a new start: status %d", status)
	}
}

// TestUpdateWhileThrottled lets a waiting request through.
func TestUpdateWhileThrottled(t *testing.T) {
	l := ratelimit.New(ratelimit.Limits{Bytes: &ratelimit.Bucket{Size: 512, Refill: time.Hour}})
	d := virtiotest.New(t, blk.New(&disk{bytes: pattern(4096)}, blk.Config{Limiter: l}))
	d.Start(0)
	request(d, in, 0, d.Room(512))
	go func() { // ends with the test, whose request it lets through
		for l.Stats().Throttled == 0 {
			time.Sleep(time.Millisecond)
		}
		l.Update(ratelimit.Limits{Bytes: &ratelimit.Bucket{}})
	}()
	if status, _ := request(d, in, 0, d.Room(512)); status != ok {
		t.Errorf("status %d", status)
	}
}

// BenchmarkLimit has 32 reads in flight on a disk that may do 10 in 10 ms, for 10 s
// after a second: what it reports is how far from that it is. No host is too slow
// for it, as an emulated guest is.
func BenchmarkLimit(b *testing.B) {
	const perSecond, window = 1000, 10 * time.Second
	l := ratelimit.New(ratelimit.Limits{Ops: &ratelimit.Bucket{Size: 10, Refill: 10 * time.Millisecond}})
	d := virtiotest.New(b, blk.New(&disk{bytes: pattern(4096)}, blk.Config{Limiter: l}))
	d.Start(virtio.FeatureEventIdx)
	q, head, data, status := d.Queue(0), d.Put(header(in, 0)), d.Room(512), d.Room(1)
	read := func() {
		q.Add(head, data, status)
		q.Kick()
	}
	for range 32 {
		read()
	}
	count := func(during time.Duration) (n int, took time.Duration) {
		for began := time.Now(); took < during; took = time.Since(began) {
			q.Wait()
			read()
			n++
		}
		return n, took
	}
	count(time.Second)
	for b.Loop() {
		n, took := count(window)
		b.ReportMetric(100*(float64(n)/took.Seconds()/perSecond-1), "%off")
	}
}
