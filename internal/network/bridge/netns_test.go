package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	nic "github.com/mvm-project/mvm/devices/net"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// ownNetwork gives the test a host's network of its own, which goes with its thread.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // and not unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a network namespace (as root): %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil { // it refuses more in a second than others do in a minute
		err = os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("0"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wire is a TAP device, from its far end: a guest's, or another host's.
type wire struct {
	t         *testing.T
	f         *os.File
	questions *os.File
	mac       hostnet.MAC
	addr      netip.Addr
	addr6     netip.Addr
	gateway   hostnet.MAC // and where its packets go
}

// vnetHeader is before each frame on a TAP device (struct virtio_net_hdr_mrg_rxbuf).
const vnetHeader = 12

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := w.f.Write(append(make([]byte, vnetHeader), frame...)); err != nil {
		w.t.Fatal(err)
	}
}

// patience bounds a wait for what does come.
const patience = 20 * time.Second

// receive returns the first frame of some kind.
func (w *wire) receive(kind func(frame []byte) bool) []byte {
	w.t.Helper()
	return first(w.t, w.f, vnetHeader, kind)
}

func first(t *testing.T, f *os.File, skip int, kind func(frame []byte) bool) []byte {
	t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatalf("what was sent did not come: %v", err)
		}
		if n >= skip+header.EthernetMinimumSize && kind(buf[skip:n]) {
			return bytes.Clone(buf[skip:n])
		}
	}
}

// plug makes a container's TAP device.
func plug(t *testing.T, u network.Used, l network.Lease) *wire {
	t.Helper()
	tap, questions, err := Host{"mvm-test"}.Attach(u.Network, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close(); questions.Close() })
	settled(t, u.Bridge)
	neighbour(t, u.Bridge, l.Addr, l.MAC)
	if l.Addr6.IsValid() {
		neighbour(t, u.Bridge, l.Addr6, l.MAC)
	}
	return &wire{t: t, f: tap, questions: questions, mac: l.MAC, addr: l.Addr, addr6: l.Addr6, gateway: u.MAC()}
}

// settled waits until a bridge that has got its carrier by its first port sends: the
// kernel sees to that a moment later.
func settled(t *testing.T, device string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		link, err := netlink.LinkByName(device)
		if err != nil {
			t.Fatal(err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %v", device, link.Attrs().OperState)
		}
	}
}

// own waits until the host takes an address for its own: of IPv6 that is a moment
// after it has it.
func own(t *testing.T, a netip.Addr) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if routes, err := netlink.RouteGet(a.AsSlice()); err == nil && routes[0].Type == unix.RTN_LOCAL {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v is not this host's", a)
		}
	}
}

// outside is another host, on a link of this one's.
func outside(t *testing.T) *wire {
	t.Helper()
	f, err := nic.MakeTAP("outside")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	link, err := netlink.LinkByName("outside")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		if err := address(link, netip.MustParsePrefix(a)); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	own(t, netip.MustParseAddr("2001:db8::1"))
	w := &wire{t: t, f: f, mac: hostnet.MAC{2, 9, 9, 9, 9, 9}, addr: netip.MustParseAddr("192.0.2.9"), addr6: netip.MustParseAddr("2001:db8::9"), gateway: hostnet.MAC(link.Attrs().HardwareAddr)}
	neighbour(t, "outside", w.addr, w.mac)
	neighbour(t, "outside", w.addr6, w.mac)
	return w
}

// neighbour spares the test the questions for addresses.
func neighbour(t *testing.T, device string, a netip.Addr, m hostnet.MAC) {
	t.Helper()
	link, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: a.AsSlice(), HardwareAddr: m[:], State: netlink.NUD_PERMANENT})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ethernet is a frame of a type.
func ethernet(to, from hostnet.MAC, kind uint16, payload []byte) []byte {
	b := make([]byte, header.EthernetMinimumSize)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(from[:]), DstAddr: tcpip.LinkAddress(to[:]), Type: tcpip.NetworkProtocolNumber(kind)})
	return append(b, payload...)
}

// ip is a packet.
func ip(from, to netip.Addr, protocol byte, payload []byte) []byte {
	src, dst := tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice())
	if from.Is4() {
		b := make([]byte, header.IPv4MinimumSize)
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{TotalLength: uint16(len(b) + len(payload)), TTL: 64, Protocol: protocol, SrcAddr: src, DstAddr: dst})
		h.SetChecksum(^h.CalculateChecksum())
		return append(b, payload...)
	}
	b := make([]byte, header.IPv6MinimumSize)
	header.IPv6(b).Encode(&header.IPv6Fields{PayloadLength: uint16(len(payload)), TransportProtocol: tcpip.TransportProtocolNumber(protocol), HopLimit: 255, SrcAddr: src, DstAddr: dst})
	return append(b, payload...)
}

// sum fills in a checksum over a packet's addresses too.
func sum(from, to netip.Addr, protocol byte, b []byte, at int) []byte {
	x := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(protocol), tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice()), uint16(len(b)))
	x = ^checksum.Checksum(b, x)
	b[at], b[at+1] = byte(x>>8), byte(x)
	return b
}

// datagram is a packet of UDP.
func datagram(from, to netip.AddrPort, text string) []byte {
	b := make([]byte, header.UDPMinimumSize)
	header.UDP(b).Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(len(b) + len(text))})
	return ip(from.Addr(), to.Addr(), unix.IPPROTO_UDP, sum(from.Addr(), to.Addr(), unix.IPPROTO_UDP, append(b, text...), 6))
}

// icmp6 is a message of ICMPv6's.
func icmp6(from, to netip.Addr, kind byte, body []byte) []byte {
	return ip(from, to, unix.IPPROTO_ICMPV6, sum(from, to, unix.IPPROTO_ICMPV6, append([]byte{kind, 0, 0, 0}, body...), 2))
}

// arp is an answer of ARP's.
func arp(m hostnet.MAC, a, to netip.Addr) []byte {
	b := make([]byte, header.ARPSize)
	h := header.ARP(b)
	h.SetIPv4OverEthernet()
	h.SetOp(header.ARPReply)
	copy(h.HardwareAddressSender(), m[:])
	copy(h.ProtocolAddressSender(), a.AsSlice())
	copy(h.ProtocolAddressTarget(), to.AsSlice())
	return b
}

func having(text string) func([]byte) bool {
	return func(frame []byte) bool { return bytes.Contains(frame, []byte(text)) }
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// host is an example's networks on a host of its own, and what is plugged in there:
// two containers of one network, one of each other.
func host(t *testing.T, change func([]network.Used)) (all []network.Used, a, b, six, inner *wire) {
	t.Helper()
	ownNetwork(t)
	all = example(t)
	all[1].Leases = append(all[1].Leases, lease(t, all[1], 6))
	if change != nil {
		change(all)
	}
	if err := (Host{"mvm-test"}).Apply(all); err != nil {
		t.Fatal(err)
	}
	a, b = plug(t, all[0], all[0].Leases[0]), plug(t, all[0], all[0].Leases[1])
	return all, a, b, plug(t, all[1], all[1].Leases[0]), plug(t, all[2], all[2].Leases[0])
}

// TestHonest: what is not in the container's own name does not come; what follows
// does.
func TestHonest(t *testing.T) {
	all, _, _, six, _ := host(t, nil)
	peer := plug(t, all[1], all[1].Leases[1])
	p4, p6 := at(peer.addr, 9), at(peer.addr6, 9)
	stranger, stranger6 := netip.MustParseAddr("10.231.1.99"), netip.MustParseAddr("fd12:3456:789a::99")
	local := linkLocal(six.mac)
	broadcast := hostnet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes := netip.MustParseAddr("ff02::1")
	own, own6 := datagram(at(six.addr, 5), p4, "BAD"), datagram(at(six.addr6, 5), p6, "BAD")
	target := func(a netip.Addr) []byte { return append(append([]byte{0x20, 0, 0, 0}, a.AsSlice()...), "BAD"...) }
	for name, bad := range map[string][]byte{
		"another's Ethernet address":     ethernet(peer.mac, hostnet.MAC{2, 1, 1, 1, 1, 1}, unix.ETH_P_IP, own),
		"the gateway's Ethernet address": ethernet(peer.mac, six.gateway, unix.ETH_P_IP, own),
		"another's IPv4 address":         ethernet(peer.mac, six.mac, unix.ETH_P_IP, datagram(at(stranger, 5), p4, "BAD")),
		"the gateway's IPv4 address":     ethernet(peer.mac, six.mac, unix.ETH_P_IP, datagram(at(all[1].Gateway, 5), p4, "BAD")),
		"another's IPv6 address":         ethernet(peer.mac, six.mac, unix.ETH_P_IPV6, datagram(at(stranger6, 5), p6, "BAD")),
		"another's link-local address":   ethernet(peer.mac, six.mac, unix.ETH_P_IPV6, datagram(at(linkLocal(peer.mac), 5), p6, "BAD")),
		"an answer of ARP's for another": ethernet(broadcast, six.mac, unix.ETH_P_ARP, append(arp(six.mac, stranger, peer.addr), "BAD"...)),
		"an answer of ARP's of another":  ethernet(broadcast, six.mac, unix.ETH_P_ARP, append(arp(peer.mac, six.addr, peer.addr), "BAD"...)),
		"a router's advertisement":       ethernet(broadcast, six.mac, unix.ETH_P_IPV6, icmp6(local, allNodes, routerAdvert, append(make([]byte, 12), "BAD"...))),
		"a redirect":                     ethernet(broadcast, six.mac, unix.ETH_P_IPV6, icmp6(local, allNodes, redirect, append(make([]byte, 36), "BAD"...))),
		"a neighbour that is another":    ethernet(broadcast, six.mac, unix.ETH_P_IPV6, icmp6(six.addr6, allNodes, neighborAdvert, target(peer.addr6))),
		"a VLAN":                         ethernet(peer.mac, six.mac, unix.ETH_P_8021Q, append([]byte{0, 1, 8, 0}, own...)),
		"a VLAN for priorities":          ethernet(peer.mac, six.mac, unix.ETH_P_8021Q, append([]byte{0, 0, 8, 0}, datagram(at(stranger, 5), p4, "BAD")...)),
		"another protocol":               ethernet(peer.mac, six.mac, 0x88cc, []byte("BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD")),
		"IPv6 as IPv4":                   ethernet(peer.mac, six.mac, unix.ETH_P_IP, own6),
	} {
		six.send(bad)
		six.send(ethernet(peer.mac, six.mac, unix.ETH_P_IP, datagram(at(six.addr, 5), p4, "GOOD")))
		got := peer.receive(func(f []byte) bool { return having("BAD")(f) || having("GOOD")(f) })
		if having("BAD")(got) {
			t.Errorf("%s came", name)
			peer.receive(having("GOOD"))
		}
	}
	for name, good := range map[string][]byte{
		"IPv6":        ethernet(peer.mac, six.mac, unix.ETH_P_IPV6, datagram(at(six.addr6, 5), p6, "GOOD")),
		"link-local":  ethernet(peer.mac, six.mac, unix.ETH_P_IPV6, datagram(at(local, 5), p6, "GOOD")),
		"ARP":         ethernet(broadcast, six.mac, unix.ETH_P_ARP, append(arp(six.mac, six.addr, peer.addr), "GOOD"...)),
		"a neighbour": ethernet(broadcast, six.mac, unix.ETH_P_IPV6, icmp6(six.addr6, allNodes, neighborAdvert, append(target(six.addr6)[:20], "GOOD"...))),
		"a question":  ethernet(broadcast, six.mac, unix.ETH_P_IPV6, icmp6(netip.IPv6Unspecified(), allNodes, neighborSolicit, append(target(six.addr6)[:20], "GOOD"...))),
	} {
		six.send(good)
		t.Log(name)
		peer.receive(having("GOOD"))
	}
}

// TestIsolated: containers of different networks do not reach each other, nor the
// host, but as they may.
func TestIsolated(t *testing.T) {
	all, a, b, six, inner := host(t, nil)
	out := outside(t)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	via := func(w *wire, to netip.Addr, text string) {
		w.send(ethernet(w.gateway, w.mac, unix.ETH_P_IP, datagram(at(w.addr, 5), at(to, 9), text)))
	}
	// Each is followed by what comes: from the host itself, which waits for nobody.
	n := 0
	reaches := func(from *wire, to *wire) bool {
		t.Helper()
		n++
		bad, good := fmt.Sprintf("BAD-%d.", n), fmt.Sprintf("GOOD-%d.", n)
		via(from, to.addr, bad)
		if _, err := socket.WriteToUDPAddrPort([]byte(good), at(to.addr, 7)); err != nil {
			t.Fatal(err)
		}
		got := to.receive(func(f []byte) bool { return having(bad)(f) || having(good)(f) })
		return having(bad)(got)
	}
	for name, c := range map[string]struct {
		from, to *wire
		want     bool
	}{
		"one network to another":  {a, six, false},
		"the other way":           {six, a, false},
		"into an internal one":    {a, inner, false},
		"out of an internal one":  {inner, a, false},
		"an internal one, out":    {inner, out, false},
		"out":                     {a, out, true},
		"from outside, directly":  {out, b, false},
		"by the gateway, to peer": {a, b, true},
	} {
		if got := reaches(c.from, c.to); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// The host: nobody but who was given it.
	for _, to := range []netip.Addr{all[0].Gateway, all[1].Gateway, netip.MustParseAddr("192.0.2.1")} {
		via(a, to, "BAD")
	}
	via(b, all[0].Gateway, "GOOD")
	buf := make([]byte, 100)
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := socket.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "GOOD" || from.Addr() != b.addr {
		t.Errorf("the host heard %q from %v, %v", buf[:n], from, err)
	}
	// Who is refused is told (RFC 1812, 5.2.7.1: type 3, code 13).
	a.receive(func(f []byte) bool {
		packet := header.IPv4(f[header.EthernetMinimumSize:])
		return packet.IsValid(len(packet)) && packet.Protocol() == unix.IPPROTO_ICMP && bytes.HasPrefix(packet.Payload(), []byte{3, 13})
	})
	// And whom it asked itself.
	if _, err := socket.WriteToUDPAddrPort([]byte("ASK"), at(a.addr, 7)); err != nil {
		t.Fatal(err)
	}
	a.receive(having("ASK"))
	a.send(ethernet(a.gateway, a.mac, unix.ETH_P_IP, datagram(at(a.addr, 7), at(all[0].Gateway, 9), "ANSWER")))
	if n, from, err := socket.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "ANSWER" || from.Addr() != a.addr {
		t.Errorf("the host heard %q from %v, %v", buf[:n], from, err)
	}
}

// TestNAT: what goes out has the host's address; what comes to a published port
// goes to the container, from where it came; clouds' credentials are not to be had.
func TestNAT(t *testing.T) {
	_, a, _, six, _ := host(t, func(all []network.Used) {
		all[0].Leases[0] = lease(t, all[0], 2, "8080:80/udp", "127.0.0.1:8081:81/udp")
		all[1].Leases[0] = lease(t, all[1], 4, "8443:443/udp")
	})
	out := outside(t)
	a.send(ethernet(a.gateway, a.mac, unix.ETH_P_IP, datagram(at(a.addr, 5), at(out.addr, 9), "OUT")))
	got := header.IPv4(out.receive(having("OUT"))[header.EthernetMinimumSize:])
	if from := got.SourceAddress().String(); from != "192.0.2.1" {
		t.Errorf("it is from %s", from)
	}
	out.send(ethernet(out.gateway, out.mac, unix.ETH_P_IP, datagram(at(out.addr, 9), netip.MustParseAddrPort("192.0.2.1:5"), "BACK")))
	a.receive(having("BACK"))
	six.send(ethernet(six.gateway, six.mac, unix.ETH_P_IPV6, datagram(at(six.addr6, 5), at(out.addr6, 9), "OUT")))
	got6 := header.IPv6(out.receive(having("OUT"))[header.EthernetMinimumSize:])
	if from := got6.SourceAddress().String(); from != "2001:db8::1" {
		t.Errorf("it is from %s", from)
	}
	in := func(w *wire, from netip.Addr, to netip.AddrPort, text string, want netip.AddrPort) {
		t.Helper()
		kind := uint16(unix.ETH_P_IP)
		if from.Is6() {
			kind = unix.ETH_P_IPV6
		}
		out.send(ethernet(out.gateway, out.mac, kind, datagram(at(from, 5), to, text)))
		packet := w.receive(having(text))[header.EthernetMinimumSize:]
		h, size := header.Network(header.IPv4(packet)), header.IPv4MinimumSize
		if from.Is6() {
			h, size = header.IPv6(packet), header.IPv6MinimumSize
		}
		port := header.UDP(packet[size:]).DestinationPort()
		if h.SourceAddress().String() != from.String() || h.DestinationAddress().String() != want.Addr().String() || port != want.Port() {
			t.Errorf("%v to %v:%d, want %v to %v", h.SourceAddress(), h.DestinationAddress(), port, from, want)
		}
	}
	in(a, out.addr, netip.MustParseAddrPort("192.0.2.1:8080"), "IN", at(a.addr, 80))
	in(six, out.addr, netip.MustParseAddrPort("192.0.2.1:8443"), "IN", at(six.addr, 443))
	in(six, out.addr6, netip.MustParseAddrPort("[2001:db8::1]:8443"), "IN", at(six.addr6, 443))
	// Between networks by a published port; what is the loopback's is not.
	a.send(ethernet(a.gateway, a.mac, unix.ETH_P_IP, datagram(at(a.addr, 6), netip.MustParseAddrPort("192.0.2.1:8443"), "ACROSS")))
	six.receive(having("ACROSS"))
	out.send(ethernet(out.gateway, out.mac, unix.ETH_P_IP, datagram(at(out.addr, 5), netip.MustParseAddrPort("192.0.2.1:8081"), "BAD")))
	in(a, out.addr, netip.MustParseAddrPort("192.0.2.1:8080"), "AGAIN", at(a.addr, 80))

	// Of who is gone nothing is left for who comes next.
	flows := func(addr netip.Addr) (n int) {
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if (flowsOf{addr: true}).MatchConntrackFlow(f) {
				n++
			}
		}
		return n
	}
	if n := flows(six.addr); n == 0 {
		t.Error("no flow is known")
	}
	others := flows(a.addr)
	Host{"mvm-test"}.Forget([]network.Lease{{Addr: six.addr, Addr6: six.addr6}})
	if n := flows(six.addr); n != 0 || others == 0 {
		t.Errorf("%d flows are left, of %d others", n, others)
	}

	link, err := netlink.LinkByName("outside")
	if err == nil {
		err = address(link, netip.MustParsePrefix("169.254.0.1/16"))
	}
	if err != nil {
		t.Fatal(err)
	}
	cloud := netip.MustParseAddr("169.254.169.254")
	neighbour(t, "outside", cloud, out.mac)
	a.send(ethernet(a.gateway, a.mac, unix.ETH_P_IP, datagram(at(a.addr, 5), at(cloud, 80), "CLOUD")))
	a.send(ethernet(a.gateway, a.mac, unix.ETH_P_IP, datagram(at(a.addr, 5), at(out.addr, 9), "GOOD")))
	if f := out.receive(func(f []byte) bool { return having("CLOUD")(f) || having("GOOD")(f) }); having("CLOUD")(f) {
		t.Error("a cloud's credentials are to be had")
	}
}

// TestQuestions: those to the name server come to mvm-netd, and to nobody else, and
// nothing else comes there; its answers come to the container.
func TestQuestions(t *testing.T) {
	all, a, b, _, _ := host(t, nil)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: all[0].Gateway.AsSlice(), Port: dnsPort})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	gateway := at(all[0].Gateway, dnsPort)
	fragment := datagram(at(a.addr, 5), gateway, "fragment")
	header.IPv4(fragment).SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0)
	for _, other := range [][]byte{
		datagram(at(a.addr, 5), at(all[0].Gateway, 54), "port"), datagram(at(a.addr, 5), at(b.addr, dnsPort), "host"),
		datagram(at(b.addr, 5), gateway, "spoofed"), fragment, ip(a.addr, all[0].Gateway, unix.IPPROTO_ICMP, make([]byte, 8)),
	} {
		a.send(ethernet(a.gateway, a.mac, unix.ETH_P_IP, other))
	}
	question := ethernet(a.gateway, a.mac, unix.ETH_P_IP, datagram(at(a.addr, 5), gateway, "question"))
	a.send(question)
	if got := first(t, a.questions, 0, func([]byte) bool { return true }); !bytes.Equal(got, question) {
		t.Errorf("%q", got)
	}
	// Host has a server there all the same; who was given the host does not get there.
	b.send(ethernet(b.gateway, b.mac, unix.ETH_P_IP, datagram(at(b.addr, 5), gateway, "BAD")))
	b.send(ethernet(b.gateway, b.mac, unix.ETH_P_IP, datagram(at(b.addr, 5), at(all[0].Gateway, 54), "last")))
	first(t, b.questions, 0, having("BAD"))
	if _, err := socket.WriteToUDPAddrPort([]byte("GOOD"), gateway); err != nil { // the host's own comes after that
		t.Fatal(err)
	}
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := socket.Read(buf); err != nil || string(buf[:n]) != "GOOD" {
		t.Errorf("the host heard %q, %v", buf[:n], err)
	}
	answer := ethernet(a.mac, a.gateway, unix.ETH_P_IP, datagram(gateway, at(a.addr, 5), "answer"))
	if _, err := a.questions.Write(answer); err != nil {
		t.Fatal(err)
	}
	if got := a.receive(having("answer")); !bytes.Equal(got, answer) {
		t.Errorf("%q", got)
	}
	// The device's end is told.
	a.f.Close()
	if err := a.questions.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := a.questions.Read(make([]byte, 1<<16))
		if errors.Is(err, unix.ENETDOWN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestGone: with the last container all is gone; what is another's stays.
func TestGone(t *testing.T) {
	ownNetwork(t)
	all := example(t)
	h := Host{"mvm-test"}
	tables := func() (names []string) {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.ListTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range list {
			names = append(names, table.Name)
		}
		return names
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	c.AddTable(&nftables.Table{Name: "another", Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	a := netlink.NewLinkAttrs()
	a.Name = all[3].Bridge
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time all is there
		if err := h.Apply(all); err != nil {
			t.Fatal(err)
		}
	}
	if got := tables(); len(got) != 3 || !h.Has("mvm0") || h.Has("mvm0 ") {
		t.Errorf("tables %q", got)
	}
	routes, err := h.Routes()
	if err != nil || len(routes) < 3 {
		t.Errorf("%v, %v", routes, err)
	}
	for i := range all[:3] {
		all[i].Leases = nil
		if err := h.Apply(all); err != nil || h.Has(all[i].Bridge) {
			t.Errorf("%v; %s is still there", err, all[i].Bridge)
		}
	}
	if got := tables(); len(got) != 1 || got[0] != "another" || !h.Has(all[3].Bridge) {
		t.Errorf("tables %q", got)
	}
	all[3].Leases = append(all[3].Leases, lease(t, all[3], 7))
	if err := h.Apply(all); !errors.Is(err, errForeign) {
		t.Errorf("another's bridge: %v", err)
	}
}

// TestMany: as many ports as there can be are one transaction.
func TestMany(t *testing.T) {
	ownNetwork(t)
	u := used("bridge", "mvm0", "10.231.0.0/24")
	for i := byte(2); i < 10; i++ {
		u.Leases = append(u.Leases, lease(t, u, i, "1024-2047:1024-2047"))
	}
	if err := (Host{"mvm-test"}).Apply([]network.Used{u}); err != nil {
		t.Fatal(err)
	}
}
