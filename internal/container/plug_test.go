package container

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// fakeBridges is a host that has what it is told of, and keeps it.
type fakeBridges struct {
	mu     sync.Mutex
	fail   error           // of Attach
	leases []string        // there now
	joined []network.Lease // ever
}

func (*fakeBridges) Routes() ([]network.Route, error) { return nil, nil }
func (*fakeBridges) Has(string) bool                  { return false }

func (b *fakeBridges) Apply(all []network.Used) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leases = nil
	for _, u := range all {
		for _, l := range u.Leases {
			b.leases = append(b.leases, l.Container)
		}
	}
	return nil
}

func (*fakeBridges) Forget([]network.Lease) {}

// Attach returns a pipe: mvm-netd's end of it ends with the last of mvm-vmm's.
func (b *fakeBridges) Attach(_ network.Network, l network.Lease) (tap, questions *os.File, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, nil, b.fail
	}
	b.joined = append(b.joined, l)
	questions, tap, err = os.Pipe()
	return tap, questions, err
}

func (b *fakeBridges) there() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.leases, " ")
}

// bridgedStore is a store on a fake host, with a mvm-netd that does nothing.
func bridgedStore(t *testing.T) (*Store, *fakeBridges, Options) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho '{}' >&4\nread -r end <&3\n"
	if err := os.WriteFile(filepath.Join(dir, NetProgram), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	s, o := testStore(t)
	b := &fakeBridges{}
	s.bridges = b
	o.Network = hostnet.Network{Kind: hostnet.Bridge, Name: network.Default}
	return s, b, o
}

// TestBridged: a container is on its network as long as it runs, and is told where.
func TestBridged(t *testing.T) {
	s, b, o := bridgedStore(t)
	o.Name = "web"
	o.Network.Addr = netip.MustParsePrefix("10.231.0.7/32")
	o.Process.Args = []string{"start", "exit=0"}
	if _, err := s.Run(t.Context(), self(t), o, IO{}); err != nil {
		t.Fatal(err)
	}
	if b.there() != "" || len(b.joined) != 1 {
		t.Fatalf("after the end: %q, %+v", b.there(), b.joined)
	}
	l := b.joined[0]
	if l.Name != "web" || l.Addr != o.Network.Addr.Addr() || l.Device != "mvm"+l.Container || l.MAC != macOf(l.Container) {
		t.Errorf("%+v", l)
	}

	o.Name, o.Network.Addr = "again", netip.Prefix{}
	o.Process.Args = []string{"start", "ignore"} // whose connection ends with RunDetached
	id, _, err := s.RunDetached(t.Context(), self(t), o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := read(s.path(containersDir, id))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.VMM.kill() }()
	if err := s.Sweep(); err != nil || b.there() != id {
		t.Errorf("%v: while it runs: %q", err, b.there())
	}
	if n := s.Connected(&c); n.Addr.String() != "10.231.0.2/24" || n.Gateway.String() != "10.231.0.1" || n.Interface() == nil {
		t.Errorf("%+v", n)
	}
	if err := s.RemoveNetwork(network.Default); err == nil || !strings.Contains(err.Error(), "always there") {
		t.Error(err)
	}
	if err := s.Rename("again", "other"); err != nil {
		t.Error(err)
	}
	networks, err := s.Networks()
	if err != nil {
		t.Fatal(err)
	}
	if _, l, ok := networks.Lease(id); !ok || l.Name != "other" {
		t.Errorf("%+v, %v", l, ok)
	}

	// Killed, it leaves the rest to the next command.
	if err := c.VMM.kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); b.there() != ""; time.Sleep(time.Millisecond) {
		if err := s.Sweep(); err != nil || time.Now().After(end) {
			t.Fatalf("%v: still there: %q", err, b.there())
		}
	}
	if _, _, ok := networks.Lease(id); ok {
		t.Error("it still has its lease")
	}
}

// TestNotBridged: a container that cannot be on its network leaves nothing.
func TestNotBridged(t *testing.T) {
	s, b, o := bridgedStore(t)
	broken := errors.New("no TAP devices here")
	try := func(name string) {
		t.Helper()
		if _, err := s.Run(t.Context(), self(t), o, IO{}); err == nil {
			t.Errorf("%s: it ran", name)
		}
		if _, _, err := s.RunDetached(t.Context(), self(t), o); err == nil {
			t.Errorf("%s: it ran", name)
		}
		if list, err := s.List(); err != nil || len(list) > 0 || b.there() != "" {
			t.Errorf("%s: %v, %v; on the host: %q", name, list, err, b.there())
		}
	}
	o.Network.Name = "nosuch"
	try("no such network")
	o.Network.Name, b.fail = network.Default, broken
	try("no TAP device")
	b.fail = nil
	t.Setenv("PATH", "/nowhere")
	try("no mvm-netd")
}
