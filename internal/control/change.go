package control

import (
	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/ratelimit"
	"github.com/mvm-project/mvm/vmm"
)

// Change is what of a container changes while it runs. The answer is Done.
type Change struct {
	// Guest are limits inside; nil: none of them changes.
	Guest *proto.Limits `json:",omitempty"`
	// Devices are limits of its devices.
	Devices vmm.Limits
	// Restart is its policy; nil: that stays.
	Restart *Restart `json:",omitempty"`
}

// Measure is answered with Traffic.
type Measure struct{}

// Traffic is what has passed a container's limits.
type Traffic struct {
	vmm.Traffic
	Log ratelimit.Stats // its output, where that is kept
}

// Apply makes s what a container is after a change.
func (s *Spec) Apply(c Change) {
	s.VM.Limit(c.Devices)
	if c.Restart != nil {
		s.Restart = *c.Restart
	}
	if c.Guest == nil {
		return
	}
	have := &s.Container.Limits
	for _, l := range []struct {
		have *int64
		want int64
	}{{&have.CPUMicros, c.Guest.CPUMicros}, {&have.Memory, c.Guest.Memory}, {&have.PIDs, c.Guest.PIDs}} {
		switch l.want {
		case 0:
		case proto.Unlimited:
			*l.have = 0
		default:
			*l.have = l.want
		}
	}
}
