package bridge

import (
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

var update = flag.Bool("update", false, "write testdata/rules.nft anew")

// lease is the n-th container of a network.
func lease(t testing.TB, u network.Used, n byte, ports ...string) network.Lease {
	t.Helper()
	list, err := hostnet.ParsePorts(ports)
	if err != nil {
		t.Fatal(err)
	}
	a := u.Subnet.Addr().As4()
	a[3] = n
	id := "00000000000" + string('0'+rune(n%10))
	l := network.Lease{
		Container: id, Name: "c" + id, Device: "mvm" + id, MAC: hostnet.MAC{2, a[1], a[2], 0, 0, n}, Addr: netip.AddrFrom4(a), Ports: list,
	}
	if u.Subnet6.IsValid() {
		b := u.Subnet6.Addr().As16()
		copy(b[12:], a[:])
		l.Addr6 = netip.AddrFrom16(b)
	}
	return l
}

func used(name, bridge, subnet string) network.Used {
	p := netip.MustParsePrefix(subnet)
	return network.Used{Network: network.Network{
		Name: name, Created: time.Unix(1, 0).UTC(), Bridge: bridge, Subnet: p, Gateway: p.Addr().Next(),
	}}
}

// example are networks of every kind.
func example(t testing.TB) []network.Used {
	plain, six, inner, empty := used("bridge", "mvm0", "10.231.0.0/24"), used("six", "mvm-00000001", "10.231.1.0/24"),
		used("inner", "mvm-00000002", "10.231.2.0/24"), used("empty", "mvm-00000003", "10.231.3.0/24")
	plain.Leases = append(plain.Leases, lease(t, plain, 2, "8080:80", "127.0.0.1:8081:81", "192.0.2.1:53-54:53-54/udp"), lease(t, plain, 3))
	plain.Leases[1].Host = true
	six.Subnet6 = netip.MustParsePrefix("fd12:3456:789a::/64")
	six.Leases = append(six.Leases, lease(t, six, 4, "8443:443", "[2001:db8::1]:80:80", "0.0.0.0:81:81"))
	six.Leases[0].Host = true
	inner.Internal = true
	inner.Leases = append(inner.Leases, lease(t, inner, 5))
	return []network.Used{plain, six, inner, empty}
}

// TestRules: the rules, word for word: nft -f reads them.
func TestRules(t *testing.T) {
	got := ""
	for _, table := range rules("mvm-test", example(t)) {
		got += table.String()
	}
	const golden = "testdata/rules.nft"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("-want +got (go test -update writes it anew):\n%s", cmp.Diff(string(want), got))
	}
}
