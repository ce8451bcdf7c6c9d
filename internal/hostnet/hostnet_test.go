package hostnet

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// addrs compares addresses.
func addrs() cmp.Option {
	return cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
}

func TestParsePort(t *testing.T) {
	ip4, ip6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for s, want := range map[string]Port{
		"8080:80":                   {Host: 8080, Guest: 80, Count: 1},
		"1:65535/tcp":               {Host: 1, Guest: 65535, Count: 1},
		"53:53/udp":                 {Host: 53, Guest: 53, Count: 1, UDP: true},
		"127.0.0.1:8080:80":         {IP: ip4, Host: 8080, Guest: 80, Count: 1},
		"[::1]:8080:80/udp":         {IP: ip6, Host: 8080, Guest: 80, Count: 1, UDP: true},
		"::1:8080:80":               {IP: ip6, Host: 8080, Guest: 80, Count: 1},
		"8000-8009:80-89":           {Host: 8000, Guest: 80, Count: 10},
		"127.0.0.1:1-2:65534-65535": {IP: ip4, Host: 1, Guest: 65534, Count: 2},
	} {
		got, err := ParsePort(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"":                 "want [IP:]HOST",
		"80":               "want [IP:]HOST",
		":80":              "want [IP:]HOST",
		"80:":              "want [IP:]HOST",
		"0:80":             `no port "0"`,
		"80:0":             `no port "0"`,
		"70000:80":         `no port "70000"`,
		"80:70000":         `no port "70000"`,
		"-1:80":            "want [IP:]HOST",
		"+1:80":            `no port "+1"`,
		"http:80":          `no port "http"`,
		"80:80/sctp":       `no protocol "sctp"`,
		"80:80/":           `no protocol ""`,
		"300.0.0.1:80:80":  `"300.0.0.1" is no IP address`,
		"localhost:80:80":  `"localhost" is no IP address`,
		":80:80":           `"" is no IP address`,
		"fe80::1%lo:80:80": "is no IP address",
		"9-8:1-2":          "ends before",
		"1-3:1-2":          "3 ports of the host's for 2",
		"1:1-2":            "1 ports of the host's for 2",
	} {
		if p, err := ParsePort(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %s", s, p, err, want)
		}
	}
	if _, err := ParsePorts([]string{"1-1024:1-1024"}); err != nil {
		t.Error(err)
	}
	if _, err := ParsePorts([]string{"1-1000:1-1000", "2001-2025:1-25"}); err == nil || !strings.Contains(err.Error(), "more than 1024") {
		t.Error(err)
	}
	var seen []netip.AddrPort
	_ = Port{Host: 65534, Guest: 1, Count: 2}.Each(func(host netip.AddrPort, guest uint16) error {
		seen = append(seen, host, netip.AddrPortFrom(ip4, guest))
		return nil
	})
	if len(seen) != 4 || seen[2].Port() != 65535 || seen[3].Port() != 2 {
		t.Error(seen)
	}
}

// FuzzPort: what is taken makes sense, whatever was written.
func FuzzPort(f *testing.F) {
	for _, s := range []string{"8080:80", "[::1]:1-2:3-4/udp", "127.0.0.1:65535:1/tcp", ":::", "0-0:0-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePort(s)
		if err != nil {
			return
		}
		if p.Host == 0 || p.Guest == 0 || p.Count == 0 || int(p.Host)+int(p.Count) > 1<<16 || int(p.Guest)+int(p.Count) > 1<<16 {
			t.Fatalf("%q: %+v", s, p)
		}
	})
}

func TestAddHost(t *testing.T) {
	n := DefaultUser()
	for _, s := range []string{"db:10.0.0.5", "v6.example.org:[2001:db8::1]", "also=2001:db8::2", "me:host-gateway", "mapped:::ffff:1.2.3.4"} {
		if err := n.AddHost(s); err != nil {
			t.Error(err)
		}
	}
	want := []proto.Host{
		{Name: "db", Addr: netip.MustParseAddr("10.0.0.5")},
		{Name: "v6.example.org", Addr: netip.MustParseAddr("2001:db8::1")},
		{Name: "also", Addr: netip.MustParseAddr("2001:db8::2")},
		{Name: "me", Addr: n.Gateway},
		{Name: "mapped", Addr: netip.MustParseAddr("1.2.3.4")},
	}
	if !cmp.Equal(n.Hosts, want, addrs()) || !n.HostLoopback {
		t.Error(cmp.Diff(n.Hosts, want, addrs()))
	}
	for _, s := range []string{"", "db", "db:", ":1.2.3.4", "a b:1.2.3.4", "a\n6.6.6.6 b:1.2.3.4", "a..b:1.2.3.4", "a:1.2.3", "a:fe80::1%lo", strings.Repeat("x", 64) + ":1.2.3.4"} {
		if n.AddHost(s) == nil {
			t.Errorf("%q", s)
		}
	}
	tap := Network{Kind: TAP}
	if err := tap.AddHost("me:host-gateway"); err == nil || !strings.Contains(err.Error(), "--network user") {
		t.Error(err)
	}
}

func TestParseResolvConf(t *testing.T) {
	c, err := ParseResolvConf(strings.NewReader("# comment\nnameserver 127.0.0.53\nnameserver\nnameserver x\nnameserver 192.0.2.1 # y\ndomain old\n" +
		"search example.org. bad_;name corp\nnameserver fe80::1%eth0\nnameserver 192.0.2.9\noptions edns0\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := ResolvConf{
		Servers: []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0")},
		Search:  []string{"example.org", "corp"},
	}
	if !cmp.Equal(c, want, addrs()) {
		t.Error(cmp.Diff(c, want, addrs()))
	}
	if b := c.Beyond(); !cmp.Equal(b, want.Servers[1:2], addrs()) {
		t.Error(b)
	}
}

// FuzzResolvConf: nothing of a file gets into a container's that is not a word.
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 1.2.3.4\nsearch a b c\n")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseResolvConf(strings.NewReader(s))
		if err != nil {
			return
		}
		if len(c.Servers) > maxServers || len(c.Search) > maxSearch || strings.ContainsAny(strings.Join(c.Search, ""), " \n;#") {
			t.Fatalf("%+v", c)
		}
	})
}

func TestNetworks(t *testing.T) {
	user := DefaultUser()
	i, r := user.Interface(), user.Resolver()
	want := &proto.Interface{
		Name:      "eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.127.2/24"), netip.MustParsePrefix("fd6d:766d:6e65::2/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.127.1"), netip.MustParseAddr("fd6d:766d:6e65::1")},
	}
	if !cmp.Equal(i, want, addrs()) || r == nil || r.Servers[0] != user.Gateway || user.MTU() != 65520 {
		t.Errorf("%s %+v", cmp.Diff(i, want, addrs()), r)
	}
	none := Network{}
	if none.Interface() != nil || none.Resolver() != nil || none.MTU() != 0 {
		t.Errorf("%+v", none)
	}
	tap := Network{Kind: TAP, Device: "tap0"}
	if i := tap.Interface(); i == nil || i.Addresses != nil || i.Gateways != nil || tap.Resolver() != nil {
		t.Errorf("%+v", i)
	}
	for s, good := range map[string]bool{
		"192.168.127.2": true, "192.168.127.254": true,
		"192.168.127.0": false, "192.168.127.1": false, "192.168.127.255": false, "192.168.128.2": false, "fd6d:766d:6e65::2": false,
	} {
		if err := CheckUserAddr(netip.MustParseAddr(s)); (err == nil) != good {
			t.Errorf("%s: %v", s, err)
		}
	}
	text, err := json.Marshal(user)
	var again Network
	if err == nil {
		err = json.Unmarshal(text, &again)
	}
	if err != nil || !cmp.Equal(again, user, addrs()) {
		t.Errorf("%v: %s", err, cmp.Diff(again, user, addrs()))
	}
}

func TestMAC(t *testing.T) {
	m, err := ParseMAC("52:54:00:12:34:56")
	if err != nil || m.String() != "52:54:00:12:34:56" {
		t.Errorf("%v %v", m, err)
	}
	for _, s := range []string{"", "52:54:00:12:34", "01:00:5e:00:00:01", "00:00:00:00:00:00", "52:54:00:12:34:56:78:9a", "ff:ff:ff:ff:ff:ff"} {
		if _, err := ParseMAC(s); err == nil {
			t.Errorf("%q", s)
		}
	}
	if m := MACOf([6]byte{0xff, 1, 2, 3, 4, 5}); m.String() != "fe:01:02:03:04:05" {
		t.Error(m)
	}
}

func TestCheckTAP(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "no-such-device-at-all", "nosuch0", "lo"} {
		if CheckTAP(name) == nil {
			t.Errorf("%q", name)
		}
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ifr, err := unix.NewIfreq("mvmtest%d")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TAP)
	if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifr); err != nil {
		t.Fatalf("make a TAP device (as root): %v", err)
	}
	if err := CheckTAP(ifr.Name()); err != nil {
		t.Error(err)
	}
}
