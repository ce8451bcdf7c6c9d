package network

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// fakeHost is a host without networks of its own, that keeps what it was told last.
type fakeHost struct {
	mu      sync.Mutex
	routes  []Route
	devices []string
	fail    error
	applied []Used
	// forgotten are addresses of who is gone.
	forgotten []netip.Addr
}

func (h *fakeHost) Routes() ([]Route, error) { return h.routes, nil }
func (h *fakeHost) Has(device string) bool   { return slices.Contains(h.devices, device) }

func (h *fakeHost) Apply(all []Used) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	h.applied = all
	return nil
}

func (h *fakeHost) Forget(gone []Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range gone {
		h.forgotten = append(h.forgotten, l.Addr)
	}
}

// leases are the containers that the host was told of last, and their networks.
func (h *fakeHost) leases() string {
	var words []string
	for _, u := range h.applied {
		for _, l := range u.Leases {
			words = append(words, u.Name+"/"+l.Container)
		}
	}
	return strings.Join(words, " ")
}

// living are the containers that run.
type living map[string]bool

func open(t *testing.T) (*Store, *fakeHost, living) {
	t.Helper()
	h, alive := &fakeHost{}, living{}
	s, err := Open(filepath.Join(t.TempDir(), "networks"), h, func(id string) bool { return alive[id] })
	if err != nil {
		t.Fatal(err)
	}
	return s, h, alive
}

func want(name, id string) Want {
	b := [6]byte{}
	copy(b[:], id)
	return Want{Network: name, Lease: Lease{Container: id, Name: "name-" + id, Device: "mvm" + id, MAC: hostnet.MACOf(b)}}
}

func refused(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want one line with %q", err, text)
	}
}

func TestCreate(t *testing.T) {
	s, h, _ := open(t)
	h.devices = []string{"mvm0"}
	h.routes = []Route{{netip.MustParsePrefix("10.231.1.0/24"), "eth0"}, {netip.MustParsePrefix("0.0.0.0/1"), "tun0"}, {netip.MustParsePrefix("172.16.0.0/12"), "eth1"}}
	u, err := s.Get(Default)
	if err != nil || u.Subnet.String() != "10.231.0.0/24" || u.Gateway.String() != "10.231.0.1" || u.Bridge != "mvm1" {
		t.Errorf("%+v, %v", u, err)
	}
	if err := s.Create(Network{Name: "back"}, true); err != nil {
		t.Fatal(err)
	}
	u, err = s.Get("back") // the next that the host has no route to
	if err != nil || u.Subnet.String() != "10.231.2.0/24" || u.Subnet6.Bits() != 64 || u.Subnet6.Addr().As16()[0] != 0xfd ||
		!strings.HasSuffix(u.Gateway6().String(), ":ae7:201") || len(u.Bridge) != 12 {
		t.Errorf("%+v, %v, %v", u, u.Gateway6(), err)
	}
	refused(t, s.Create(Network{Name: "back"}, false), "is there already")
	for name, text := range map[string]string{
		"": "bad network name", "-a": "bad network name", "a/b": "bad network name", ".new-x": "bad network name", strings.Repeat("x", 129): "bad network name",
		"bridge": "choose another name", "user": "choose another name", "none": "choose another name", "host": "choose another name",
	} {
		refused(t, s.Create(Network{Name: name}, false), text)
	}
	p := netip.MustParsePrefix
	for text, n := range map[string]Network{
		"overlaps that of the network back":      {Subnet: p("10.231.2.128/25")},
		"overlaps that of the network bridge":    {Subnet: p("10.231.0.0/23")},
		"route to 172.16.0.0/12 on eth1":         {Subnet: p("172.20.0.0/16")},
		"overlaps that of the network user":      {Subnet: p("192.168.0.0/16")},
		"did you mean 10.5.0.0/24?":              {Subnet: p("10.5.0.1/24")},
		"with a prefix of 8 to 30 bits":          {Subnet: p("10.5.0.0/31")},
		"want a private one":                     {Subnet: p("224.0.0.0/8")},
		"gateway 10.6.0.1 is no host's":          {Subnet: p("10.5.0.0/24"), Gateway: netip.MustParseAddr("10.6.0.1")},
		"gateway 10.5.0.255 is no host's":        {Subnet: p("10.5.0.0/24"), Gateway: netip.MustParseAddr("10.5.0.255")},
		"range 10.6.0.0/25 is no part":           {Subnet: p("10.5.0.0/24"), Range: p("10.6.0.0/25")},
		"needs its subnet":                       {Gateway: netip.MustParseAddr("10.5.0.1")},
		"want one of IPv6 with a prefix of 64":   {Subnet6: p("fd00::/48")},
		"overlaps this host's route to 172.16.0": {Subnet: p("172.31.7.0/24")},
	} {
		n.Name = "other"
		refused(t, s.Create(n, false), text)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "back" || list[1].Name != Default {
		t.Errorf("%+v, %v", list, err)
	}
	refused(t, s.Remove(Default), "always there")
	refused(t, s.Remove("other"), "there is no network")
	if err := s.Remove("back"); err != nil {
		t.Error(err)
	}
	refused(t, s.Check("back"), "mvm network ls")
}

func TestPools(t *testing.T) {
	s, h, _ := open(t)
	for _, pool := range pools() {
		h.routes = append(h.routes, Route{pool, "eth0"})
	}
	refused(t, s.Create(Network{Name: "back"}, false), "with --subnet")
	for _, pool := range pools() {
		n, err := pick("br", nil, nil)
		if err != nil || !n.Overlaps(pools()[0]) || conflict(pool, "br", nil, nil) != nil {
			t.Errorf("%v: %v %v", pool, n, err)
		}
	}
}

func TestJoin(t *testing.T) {
	s, h, alive := open(t)
	if err := s.Create(Network{Name: "back", Subnet: netip.MustParsePrefix("10.5.0.0/29")}, true); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"a1", "a2", "a3"} {
		alive[id] = true
		n, l, err := s.Join(want("back", id))
		if err != nil || l.Addr != netip.AddrFrom4([4]byte{10, 5, 0, byte(2 + i)}) || !n.Subnet6.Contains(l.Addr6) {
			t.Fatalf("%s: %+v, %v", id, l, err)
		}
	}
	fixed := want("back", "a4")
	fixed.Addr = netip.MustParseAddr("10.5.0.2")
	_, _, err := s.Join(fixed)
	refused(t, err, "10.5.0.2 is container name-a1's on the network back")
	fixed.Addr = netip.MustParseAddr("10.5.0.1")
	_, _, err = s.Join(fixed)
	refused(t, err, "10.5.0.1 is the gateway's")
	fixed.Addr = netip.MustParseAddr("10.5.0.8")
	_, _, err = s.Join(fixed)
	refused(t, err, "10.5.0.8 is no host's in the network back, 10.5.0.0/29")
	twin := want("back", "a4")
	twin.MAC = want("back", "a2").MAC
	_, _, err = s.Join(twin)
	refused(t, err, "is container name-a2's")
	_, _, err = s.Join(want("nobody", "a4"))
	refused(t, err, `no network "nobody"`)
	if got := h.leases(); got != "back/a1 back/a2 back/a3" {
		t.Errorf("the host has %q", got)
	}
	refused(t, s.Remove("back"), "in use by container name-a1, name-a2, name-a3")

	// Those that were killed make room, on the host too.
	delete(alive, "a2")
	alive["a4"] = true
	if _, l, err := s.Join(want("back", "a4")); err != nil || l.Addr.String() != "10.5.0.3" {
		t.Errorf("%+v, %v", l, err)
	}
	if got := h.leases(); got != "back/a1 back/a3 back/a4" {
		t.Errorf("the host has %q", got)
	}
	if err := s.Leave("a1"); err != nil || h.leases() != "back/a3 back/a4" {
		t.Errorf("%v: the host has %q", err, h.leases())
	}
	if want := []netip.Addr{netip.MustParseAddr("10.5.0.3"), netip.MustParseAddr("10.5.0.2")}; !slices.Equal(h.forgotten, want) {
		t.Errorf("forgotten %v, want %v", h.forgotten, want)
	}
	if err := s.Leave("a1"); err != nil {
		t.Error(err)
	}
	if err := s.Rename("a3", "new"); err != nil {
		t.Error(err)
	}
	if n, l, ok := s.Lease("a3"); !ok || n.Name != "back" || l.Name != "new" {
		t.Errorf("%+v %+v %v", n, l, ok)
	}
	clear(alive)
	if err := s.Tidy(); err != nil || h.leases() != "" || len(s.garbage()) != 0 {
		t.Errorf("%v: the host has %q, there are %v", err, h.leases(), s.garbage())
	}
	if err := s.Remove("back"); err != nil {
		t.Error(err)
	}
}

// TestRejoin: a container that is started again has one lease, wherever it was.
func TestRejoin(t *testing.T) {
	s, h, alive := open(t)
	alive["a1"] = true
	if err := s.Create(Network{Name: "back"}, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Default, "back", "back"} {
		if _, _, err := s.Join(want(name, "a1")); err != nil || h.leases() != name+"/a1" {
			t.Errorf("%v: the host has %q", err, h.leases())
		}
	}
}

// TestFull: a network without room says so.
func TestFull(t *testing.T) {
	s, _, alive := open(t)
	n := Network{Name: "back", Subnet: netip.MustParsePrefix("10.5.0.0/24"), Range: netip.MustParsePrefix("10.5.0.254/31")}
	if err := s.Create(n, false); err != nil {
		t.Fatal(err)
	}
	alive["a1"] = true
	if _, l, err := s.Join(want("back", "a1")); err != nil || l.Addr.String() != "10.5.0.254" {
		t.Errorf("%+v, %v", l, err)
	}
	_, _, err := s.Join(want("back", "a2"))
	refused(t, err, "no address free")
}

// TestFailed: a host that fails leaves no lease; one that cannot be cleared stays
// for the next command.
func TestFailed(t *testing.T) {
	s, h, alive := open(t)
	alive["a1"] = true
	if _, _, err := s.Join(want(Default, "a1")); err != nil {
		t.Fatal(err)
	}
	h.fail = errors.New("broken")
	if _, _, err := s.Join(want(Default, "b2")); err == nil {
		t.Error("joined a broken host")
	}
	if err := s.Leave("a1"); err == nil {
		t.Error("left a broken host")
	}
	clear(alive)
	h.fail = nil
	if err := s.Tidy(); err != nil || h.leases() != "" || len(s.garbage()) != 0 {
		t.Errorf("%v: the host has %q", err, h.leases())
	}
}

// TestMoved: the default network makes way for a route that the host has got, and
// others say what is in their way.
func TestMoved(t *testing.T) {
	s, h, alive := open(t)
	if err := s.Create(Network{Name: "back", Subnet: netip.MustParsePrefix("10.5.0.0/24")}, false); err != nil {
		t.Fatal(err)
	}
	u, err := s.Get(Default)
	if err != nil {
		t.Fatal(err)
	}
	h.routes = []Route{{u.Subnet, "eth0"}, {netip.MustParsePrefix("10.5.0.0/16"), "eth0"}}
	alive["a1"], alive["a2"] = true, true
	n, l, err := s.Join(want(Default, "a1"))
	if err != nil || n.Subnet == u.Subnet || !n.Subnet.Contains(l.Addr) {
		t.Errorf("%+v %+v %v", n, l, err)
	}
	_, _, err = s.Join(want("back", "a2"))
	refused(t, err, "route to 10.5.0.0/16 on eth0")
}

// TestKilled: what a killed command left half-done is nobody's.
func TestKilled(t *testing.T) {
	s, _, _ := open(t)
	if err := s.Create(Network{Name: "back"}, false); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.path(".new-1", "leases"), s.path("back", "leases", ".new-a1")} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	u, err := s.Get("back")
	if err != nil || len(u.Leases) != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	left, err := filepath.Glob(s.path("*", "*", ".new-*"))
	more, _ := filepath.Glob(s.path(".new-*"))
	if err != nil || len(left)+len(more) > 0 {
		t.Errorf("%v %v %v", left, more, err)
	}
}

// TestAllocate: whatever comes and goes, nobody gets what another has, or what is
// no host's; and there is room as long as addresses are free.
func TestAllocate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(26, 30).Draw(t, "bits")
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, rapid.Byte().Draw(t, "net"), 0}), bits)
		hosts := 1<<(32-bits) - 2
		gateway := subnet.Addr()
		for range rapid.IntRange(1, hosts).Draw(t, "gateway") {
			gateway = gateway.Next()
		}
		u := Used{Network: Network{Name: "back", Subnet: subnet, Gateway: gateway, Subnet6: netip.MustParsePrefix("fd00::/64")}}
		for i := range rapid.IntRange(1, 2*hosts).Draw(t, "steps") {
			if len(u.Leases) > 0 && rapid.Bool().Draw(t, "leave") {
				gone := rapid.IntRange(0, len(u.Leases)-1).Draw(t, "who")
				u.Leases = slices.Delete(u.Leases, gone, gone+1)
				continue
			}
			l, err := u.allocate(Want{Lease: Lease{Container: "c", MAC: hostnet.MACOf([6]byte{0, 0, 0, 0, byte(i >> 8), byte(i)})}})
			if full := len(u.Leases) == hosts-1; full != (err != nil) {
				t.Fatalf("%d of %d: %v", len(u.Leases), hosts-1, err)
			} else if full {
				continue
			}
			if !u.fits(l.Addr) || l.Addr == gateway || !u.Subnet6.Contains(l.Addr6) || l.Addr6 == u.Gateway6() {
				t.Fatalf("%v of %v, gateway %v", l.Addr, subnet, gateway)
			}
			for _, o := range u.Leases {
				if o.Addr == l.Addr || o.Addr6 == l.Addr6 {
					t.Fatalf("%v twice", l.Addr)
				}
			}
			u.Leases = append(u.Leases, l)
		}
	})
}

// TestTogether: many at once get an address each.
func TestTogether(t *testing.T) {
	s, h, _ := open(t)
	s.alive = func(string) bool { return true }
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, _, err := s.Join(want(Default, "c"+string(rune('a'+i)))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[netip.Addr]bool{}
	for _, u := range h.applied {
		for _, l := range u.Leases {
			seen[l.Addr] = true
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d addresses", len(seen))
	}
}

// FuzzLeases: a folder of anything is leases or an error.
func FuzzLeases(f *testing.F) {
	f.Add([]byte(`{"Container":"a1","Addr":"10.5.0.2","MAC":"02:00:00:00:00:01"}`))
	f.Add([]byte(`{"Addr":5}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a1"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := ReadLeases(os.DirFS(dir))
		if err == nil && len(list) != 1 {
			t.Fatal(list)
		}
	})
}
