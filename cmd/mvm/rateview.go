package main

import (
	"math"
	"math/bits"
	"time"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/ratelimit"
)

// rateView is a limit as inspect shows it, in a second; nil: there is none.
type rateView struct {
	Rate, Burst uint64
}

// rateViews are all limits of a container.
type rateViews struct {
	DiskIOps, DiskBps, NetRxPps, NetRxBps, NetTxPps, NetTxBps, LogBps *rateView `json:",omitempty"`
}

func newRateViews(s control.Spec) rateViews {
	var v rateViews
	if s.Log != nil {
		v.LogBps = newRateView(s.Log.Rate)
	}
	c := s.VM
	if len(c.Disks) > 0 {
		v.DiskIOps, v.DiskBps = newRateView(c.Disks[0].Limits.Ops), newRateView(c.Disks[0].Limits.Bytes)
	}
	if len(c.NICs) > 0 {
		n := c.NICs[0]
		v.NetRxPps, v.NetRxBps = newRateView(n.RX.Ops), newRateView(n.RX.Bytes)
		v.NetTxPps, v.NetTxBps = newRateView(n.TX.Ops), newRateView(n.TX.Bytes)
	}
	return v
}

// newRateView is the rate that bucketOf made a bucket of: to the nearest number, as
// far as a refill of whole nanoseconds tells.
func newRateView(b *ratelimit.Bucket) *rateView {
	if b == nil || b.Unlimited() {
		return nil
	}
	hi, lo := bits.Mul64(b.Size, uint64(time.Second))
	lo, carry := bits.Add64(lo, uint64(b.Refill)/2, 0)
	hi += carry
	if hi >= uint64(b.Refill) {
		return &rateView{math.MaxUint64, b.Burst}
	}
	rate, _ := bits.Div64(hi, lo, uint64(b.Refill))
	return &rateView{rate, b.Burst}
}

// trafficView is what has passed the limits of a running container, and for how
// long they held it back.
type trafficView struct {
	Disk, NetRx, NetTx, Log passedView
}

type passedView struct {
	Ops, Bytes uint64
	Throttled  string // as "1.5s"
}

func newTrafficView(t control.Traffic) *trafficView {
	view := func(s ratelimit.Stats) passedView {
		return passedView{s.Ops, s.Bytes, throttledText(s.Throttled)}
	}
	return &trafficView{view(t.Disk), view(t.RX), view(t.TX), view(t.Log)}
}

func throttledText(d time.Duration) string { return d.Round(time.Millisecond).String() }
