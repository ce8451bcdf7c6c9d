package vmm

import (
	"slices"

	"github.com/mvm-project/mvm/ratelimit"
)

// Limits bound what a microVM's devices do: each disk's reads and writes together,
// and what its network interfaces receive and send. A nil bucket is no limit, or
// in a change one that stays.
type Limits struct {
	Disk, RX, TX ratelimit.Limits
}

// Traffic is what has passed a microVM's limits: of all its disks, and of all its
// network interfaces.
type Traffic struct {
	Disk, RX, TX ratelimit.Stats
}

// limiters are those of a microVM's devices.
type limiters struct {
	disks, rx, tx []*ratelimit.Limiter
}

// Limit changes limits while the microVM runs.
func (v *VM) Limit(l Limits) {
	for _, group := range []struct {
		limiters []*ratelimit.Limiter
		limits   ratelimit.Limits
	}{{v.limiters.disks, l.Disk}, {v.limiters.rx, l.RX}, {v.limiters.tx, l.TX}} {
		for _, limiter := range group.limiters {
			limiter.Update(group.limits)
		}
	}
}

// Traffic says what has passed so far.
func (v *VM) Traffic() Traffic {
	return Traffic{sum(v.limiters.disks), sum(v.limiters.rx), sum(v.limiters.tx)}
}

func sum(limiters []*ratelimit.Limiter) (all ratelimit.Stats) {
	for _, l := range limiters {
		s := l.Stats()
		all.Ops += s.Ops
		all.Bytes += s.Bytes
		all.Throttled += s.Throttled
	}
	return all
}

// Limit changes the limits of microVMs to come. Copies of c keep theirs.
func (c *Config) Limit(l Limits) {
	c.Disks, c.NICs = slices.Clone(c.Disks), slices.Clone(c.NICs)
	for i := range c.Disks {
		change(&c.Disks[i].Limits, l.Disk)
	}
	for i := range c.NICs {
		change(&c.NICs[i].RX, l.RX)
		change(&c.NICs[i].TX, l.TX)
	}
}

func change(have *ratelimit.Limits, want ratelimit.Limits) {
	for _, b := range []struct{ have, want **ratelimit.Bucket }{{&have.Bytes, &want.Bytes}, {&have.Ops, &want.Ops}} {
		switch {
		case *b.want == nil:
		case (*b.want).Unlimited():
			*b.have = nil
		default:
			*b.have = *b.want
		}
	}
}
