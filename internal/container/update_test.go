package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/ratelimit"
	"github.com/mvm-project/mvm/vmm"
)

func updatable() control.Spec {
	return control.Spec{VM: vmm.Config{VCPUs: 2, Memory: 256 << 20, Disks: []vmm.Disk{{}}}, Container: proto.Container{Limits: proto.Limits{CPUMicros: 1_500_000, PIDs: 10}}}
}

func TestUpdateRunning(t *testing.T) {
	for _, test := range []struct {
		update Update
		guest  *proto.Limits // what it is told
		after  proto.Limits
		err    string
	}{
		{Update{}, nil, proto.Limits{CPUMicros: 1_500_000, PIDs: 10}, ""},
		{Update{CPUs: 1e6}, &proto.Limits{CPUMicros: 1e6}, proto.Limits{CPUMicros: 1e6, PIDs: 10}, ""},
		{Update{CPUs: 2e6}, &proto.Limits{CPUMicros: -1}, proto.Limits{PIDs: 10}, ""},
		{Update{CPUs: 2.5e6}, nil, proto.Limits{}, "it runs on 2 vCPUs: stop it first to give it more"},
		{Update{Memory: 128 << 20, PIDs: 5}, &proto.Limits{Memory: 128 << 20, PIDs: 5}, proto.Limits{CPUMicros: 1_500_000, Memory: 128 << 20, PIDs: 5}, ""},
		{Update{Memory: 256 << 20, PIDs: -1}, &proto.Limits{Memory: -1, PIDs: -1}, proto.Limits{CPUMicros: 1_500_000}, ""},
		{Update{Memory: 257 << 20}, nil, proto.Limits{}, "its microVM has 256MiB of memory: stop it first to give it more"},
	} {
		spec := updatable()
		c, err := test.update.running(spec)
		if test.err != "" {
			if err == nil || err.Error() != test.err {
				t.Errorf("%+v: error %v", test.update, err)
			}
			continue
		}
		spec.Apply(c)
		if err != nil || !cmp.Equal(c.Guest, test.guest) || !cmp.Equal(spec.Container.Limits, test.after) || spec.VM.VCPUs != 2 {
			t.Errorf("%+v: told %+v, then %+v, %v", test.update, c.Guest, spec.Container.Limits, err)
		}
	}
}

// TestUpdateRestart: what goes with its end is not restarted.
func TestUpdateRestart(t *testing.T) {
	s, o := testStore(t)
	o.Name, o.Remove = "box", true
	if _, err := s.Create(o); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), "box", Update{Restart: &control.Restart{Always: true}}); err == nil || !strings.Contains(err.Error(), "(--rm)") {
		t.Errorf("error %v", err)
	}
	must(t, s.Update(t.Context(), "box", Update{Restart: &control.Restart{}}))
}

func TestUpdateIdle(t *testing.T) {
	s, o := testStore(t)
	o.CPUs, o.Memory, o.Name = oneCPU, 64<<20, "box"
	if _, err := s.Create(o); err != nil {
		t.Fatal(err)
	}
	ops := &ratelimit.Bucket{Size: 1, Refill: 1}
	must(t, s.Update(t.Context(), "box", Update{CPUs: 2.5e6, Memory: 512 << 20, PIDs: 7, Devices: vmm.Limits{Disk: ratelimit.Limits{Ops: ops}}}))
	c, err := s.Find("box")
	must(t, err)
	l := c.Spec.Container.Limits
	if c.Spec.VM.VCPUs != 3 || c.Spec.VM.Memory != 512<<20 || l.CPUMicros != 2.5e6 || l.PIDs != 7 || l.Memory != 0 || *c.Spec.VM.Disks[0].Limits.Ops != *ops {
		t.Errorf("%+v, %+v", c.Spec.VM, l)
	}
	must(t, s.Update(t.Context(), "box", Update{CPUs: 1e6, PIDs: -1, Devices: vmm.Limits{Disk: ratelimit.Limits{Ops: &ratelimit.Bucket{}}}}))
	c, err = s.Find("box")
	must(t, err)
	l = c.Spec.Container.Limits
	if c.Spec.VM.VCPUs != 1 || l.CPUMicros != 0 || l.PIDs != 0 || c.Spec.VM.Memory != 512<<20 || c.Spec.VM.Disks[0].Limits.Ops != nil {
		t.Errorf("%+v, %+v", c.Spec.VM, l)
	}
	must(t, s.Update(t.Context(), "box", Update{Restart: &control.Restart{Failures: true, Max: 2}}))
	must(t, s.Update(t.Context(), "box", Update{PIDs: 3}))
	if c, err = s.Find("box"); err != nil || c.Spec.Restart != (control.Restart{Failures: true, Max: 2}) || c.Spec.Container.Limits.PIDs != 3 {
		t.Errorf("%+v, %v", c.Spec, err)
	}
	if err := s.Update(t.Context(), "nosuch", Update{}); err == nil || !strings.Contains(err.Error(), "no container") {
		t.Error(err)
	}
}
