package container

import (
	"strings"
	"testing"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/ratelimit"
	"github.com/mvm-project/mvm/vmm"
)

// TestNetworkConfig: each side is told its part of a network.
func TestNetworkConfig(t *testing.T) {
	_, o := testStore(t)
	o.Limits = vmm.Limits{RX: ratelimit.Limits{Ops: &ratelimit.Bucket{Size: 1, Refill: 1}}, Disk: ratelimit.Limits{Bytes: &ratelimit.Bucket{Size: 2, Refill: 2}}}
	c := o.config("00ff00ff00ff")
	if len(c.Spec.VM.NICs) > 0 || c.Spec.Interface != nil || c.Spec.Linked() {
		t.Errorf("no network: %+v", c.Spec)
	}
	if c.Spec.VM.Disks[0].Limits.Bytes.Size != 2 {
		t.Errorf("disks: %+v", c.Spec.VM.Disks)
	}
	o.Network = hostnet.DefaultUser()
	if err := o.Network.AddHost("db:10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	c = o.config("00ff00ff00ff")
	nic := c.Spec.VM.NICs[0]
	if nic.FD != control.LinkFD || hostnet.MAC(nic.MAC).String() != "02:ff:00:ff:00:ff" || nic.MTU == 0 || nic.RX.Ops.Size != 1 ||
		nic.TX.Ops != nil || !c.Spec.Linked() || c.Spec.Interface == nil {
		t.Errorf("%+v, %+v", nic, c.Spec.Interface)
	}
	guest := c.Spec.Container
	if guest.Addr != o.Network.Addr.Addr() || guest.Hosts[0].Name != "db" || guest.Resolver == nil {
		t.Errorf("%+v", guest)
	}
	o.Network = hostnet.Network{Kind: hostnet.TAP, Device: "tap9"}
	if c = o.config("00ff00ff00ff"); c.Spec.VM.NICs[0].TAP != "tap9" || c.Spec.Linked() {
		t.Errorf("%+v", c.Spec.VM.NICs)
	}
}

// TestHelperMissing: a network of kind user is refused without its program.
func TestHelperMissing(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	s, o := testStore(t)
	o.Network = hostnet.DefaultUser()
	_, err := s.Run(t.Context(), self(t), o, IO{})
	if err == nil || !strings.Contains(err.Error(), "mvm-netd is neither beside") || !strings.Contains(err.Error(), "--network none") {
		t.Error(err)
	}
	list, err := s.List()
	if err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}
