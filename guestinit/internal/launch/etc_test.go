package launch

import (
	"net/netip"
	"testing"

	"github.com/mvm-project/mvm/guestinit/proto"
)

func TestEtc(t *testing.T) {
	c := proto.Container{Hostname: "box"}
	if got, want := hosts(c), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\tbox\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c.Addr = netip.MustParseAddr("10.0.0.2")
	c.Hosts = []proto.Host{{Name: "db", Addr: netip.MustParseAddr("2001:db8::1")}}
	if got, want := hosts(c), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n2001:db8::1\tdb\n10.0.0.2\tbox\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r := proto.Resolver{
		Servers: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")},
		Search:  []string{"example.org", "corp"}, Options: []string{"ndots:2"},
	}
	if got, want := resolvConf(r), "nameserver 10.0.0.1\nnameserver fe80::1\nsearch example.org corp\noptions ndots:2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
