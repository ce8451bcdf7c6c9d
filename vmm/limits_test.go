package vmm

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/ratelimit"
)

func TestConfigLimit(t *testing.T) {
	a, b := &ratelimit.Bucket{Size: 1, Refill: 1}, &ratelimit.Bucket{Size: 2, Refill: 2}
	both := ratelimit.Limits{Ops: a, Bytes: a}
	c := Config{Disks: []Disk{{Path: "x", Limits: both}, {Path: "y"}}, NICs: []NIC{{RX: both, TX: both}}}
	before := c
	c.Limit(Limits{
		Disk: ratelimit.Limits{Ops: b},
		RX:   ratelimit.Limits{Bytes: &ratelimit.Bucket{}},
		TX:   ratelimit.Limits{Ops: &ratelimit.Bucket{}, Bytes: b},
	})
	want := Config{
		Disks: []Disk{{Path: "x", Limits: ratelimit.Limits{Ops: b, Bytes: a}}, {Path: "y", Limits: ratelimit.Limits{Ops: b}}},
		NICs:  []NIC{{RX: ratelimit.Limits{Ops: a}, TX: ratelimit.Limits{Bytes: b}}},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	if before.Disks[0].Limits != both {
		t.Error("a copy was changed")
	}
}

func TestLimitAndTraffic(t *testing.T) {
	hour := &ratelimit.Bucket{Size: 1, Refill: time.Hour}
	one, two, rx := ratelimit.New(ratelimit.Limits{}), ratelimit.New(ratelimit.Limits{}), ratelimit.New(ratelimit.Limits{})
	v := &VM{limiters: limiters{disks: []*ratelimit.Limiter{one, two}, rx: []*ratelimit.Limiter{rx}}}
	v.Limit(Limits{Disk: ratelimit.Limits{Ops: hour}})
	for _, l := range []*ratelimit.Limiter{one, two} {
		if !l.Take(10) || l.Take(10) {
			t.Error("a disk is not limited")
		}
	}
	for range 2 {
		if !rx.Take(5) {
			t.Error("the network is limited")
		}
	}
	want := Traffic{Disk: ratelimit.Stats{Ops: 2, Bytes: 20}, RX: ratelimit.Stats{Ops: 2, Bytes: 10}}
	if got := v.Traffic(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
