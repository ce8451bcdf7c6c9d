package usernet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/mvm-project/mvm/internal/hostnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a link and its other end.
func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends []*net.UnixConn
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "link")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, c.(*net.UnixConn))
	}
	return ends[0], ends[1]
}

// guest is a container's end of a network: a stack of its own, on the same link.
type guest struct {
	*testing.T
	*stack.Stack
	network *Network
}

const guestMAC = "\x02guest"

// start makes a network and a guest on it.
func start(t *testing.T, change func(*hostnet.Network)) *guest {
	t.Helper()
	cfg := hostnet.DefaultUser()
	if change != nil {
		change(&cfg)
	}
	return connect(t, cfg, func(near *net.UnixConn) (*Network, error) { return New(cfg, near) })
}

// connect puts a guest on a network.
func connect(t *testing.T, cfg hostnet.Network, network func(*net.UnixConn) (*Network, error)) *guest {
	t.Helper()
	near, far := pair(t)
	n, err := network(near)
	if err != nil {
		t.Fatal(err)
	}
	mtu := uint32(cfg.MTU())
	if mtu == 0 {
		mtu = bridgeMTU
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve() }()
	g := &guest{t, stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	}), n}
	l := &guestLink{newLink(far, mtu)}
	if err := g.CreateNIC(1, l); err != nil {
		t.Fatal(err)
	}
	i := cfg.Interface()
	for k, p := range i.Addresses {
		protocol := header.IPv4ProtocolNumber
		if p.Addr().Is6() {
			protocol = ipv6.ProtocolNumber
		}
		err := g.AddProtocolAddress(1, tcpip.ProtocolAddress{
			Protocol: protocol, AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(p.Addr()), PrefixLen: p.Bits()},
		}, stack.AddressProperties{})
		if err != nil {
			t.Fatal(err)
		}
		g.AddRoute(tcpip.Route{NIC: 1, Destination: everywhere(p.Addr()), Gateway: address(i.Gateways[k])})
	}
	ended := make(chan error, 1)
	go func() { ended <- l.serve() }()
	t.Cleanup(func() {
		_ = far.Close() // the microVM's end
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		n.Close()
		g.Destroy()
	})
	return g
}

// guestLink is the guest's interface.
type guestLink struct{ *link }

func (*guestLink) LinkAddress() tcpip.LinkAddress { return guestMAC }

func (l *guestLink) AddHeader(pkt *stack.PacketBuffer) {
	l.link.AddHeader(pkt)
	copy(pkt.LinkHeader().Slice()[6:], guestMAC)
}

func full(addr string) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	a := netip.MustParseAddrPort(addr)
	protocol := header.IPv4ProtocolNumber
	if a.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	return tcpip.FullAddress{NIC: 1, Addr: address(a.Addr()), Port: a.Port()}, protocol
}

func (g *guest) dial(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second)
	defer cancel()
	to, protocol := full(addr)
	return gonet.DialContextTCP(ctx, g.Stack, to, protocol)
}

func (g *guest) dialUDP(addr string) *gonet.UDPConn {
	g.Helper()
	to, protocol := full(addr)
	c, err := gonet.DialUDP(g.Stack, nil, &to, protocol)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// loopback lets the guest reach the host's loopback by the gateway.
func loopback(n *hostnet.Network) { n.HostLoopback = true }

// server is a server of the host's on its loopback, as the guest reaches it.
func server(t *testing.T, network string, serve func(net.Conn)) (addr string) {
	t.Helper()
	host := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
	ln, err := net.Listen(network, host)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	gateway4, gateway6 := hostnet.Gateways()
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if network == "tcp6" {
		return netip.AddrPortFrom(gateway6, port).String()
	}
	return netip.AddrPortFrom(gateway4, port).String()
}

func TestTCP(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			g := start(t, loopback)
			// It answers only once the guest has said all: each direction ends by
			// itself.
			addr := server(t, network, func(c net.Conn) {
				all, err := io.ReadAll(c)
				fmt.Fprintf(c, "%d bytes, %v\n", len(all), err)
				_, _ = c.Write(all)
			})
			c, err := g.dial(addr)
			if err != nil {
				t.Fatal(err)
			}
			sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			_ = c.(*gonet.TCPConn).CloseWrite()
			got, err := io.ReadAll(c)
			if want := append(fmt.Appendf(nil, "%d bytes, <nil>\n", len(sent)), sent...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes came, %v: %.40q", len(got), err, got)
			}
			_ = c.Close()
		})
	}
}

// TestEnd: a microVM that ends with frames unread is no error.
func TestEnd(t *testing.T) {
	near, far := pair(t)
	n, err := New(hostnet.DefaultUser(), near)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.link.write(net.Buffers{make([]byte, 60)})
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Serve(); err != nil {
		t.Error(err)
	}
}

// TestReset: a connection that breaks off on one side is not taken for a good end
// on the other.
func TestReset(t *testing.T) {
	g := start(t, loopback)
	addr := server(t, "tcp4", func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	c, err := g.dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("x"))
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("%d, %v after a reset", n, err)
	}
	_ = c.Close()
}

// TestForbidden: what is the host's alone is not reached.
func TestForbidden(t *testing.T) {
	g := start(t, nil)
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	for _, host := range []string{
		"192.168.127.1", "192.168.127.77", "0.0.0.0", "0.0.0.1", "169.254.169.254", "240.0.0.1",
		"[fd6d:766d:6e65::1]", "[fd6d:766d:6e65::77]", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:127.0.0.1]",
	} {
		c, err := g.dial(fmt.Sprintf("%s:%d", host, port))
		if err == nil {
			_ = c.Close()
			t.Errorf("%s can be reached", host)
		}
	}
}

func TestDestination(t *testing.T) {
	n := &Network{cfg: hostnet.DefaultUser()}
	n.gateway4, n.gateway6 = hostnet.Gateways()
	for addr, want := range map[string]string{
		"1.1.1.1": "1.1.1.1", "10.0.0.1": "10.0.0.1", "2001:db8::1": "2001:db8::1", "fd00::1": "fd00::1", "::ffff:1.2.3.4": "1.2.3.4",
		"127.0.0.1": "", "::1": "", "::ffff:127.0.0.1": "", "0.0.0.0": "", "0.1.2.3": "", "::": "", "169.254.169.254": "", "fe80::1": "",
		"224.0.0.1": "", "ff02::1": "", "255.255.255.255": "", "240.0.0.1": "", "fd00:ec2::254": "",
		"192.168.127.1": "", "192.168.127.2": "", "192.168.127.9": "", "fd6d:766d:6e65::1": "", "fd6d:766d:6e65::3": "",
	} {
		got, ok := n.destination(netip.MustParseAddr(addr))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v %v, want %q", addr, got, ok, want)
		}
	}
	n.cfg.HostLoopback = true
	if got, ok := n.destination(n.gateway4); !ok || !got.IsLoopback() {
		t.Error(got, ok)
	}
}

func TestUDP(t *testing.T) {
	g := start(t, loopback)
	host, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = host.Close() }()
	c := g.dialUDP(fmt.Sprintf("192.168.127.1:%d", host.LocalAddr().(*net.UDPAddr).Port))
	long := strings.Repeat("x", 60000)
	for _, text := range []string{"one", "two", long} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, maxDatagram)
		n, from, err := host.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != text {
			t.Fatalf("%v: %d bytes", err, n)
		}
		if _, err := host.WriteToUDPAddrPort(buf[:n], from); err != nil {
			t.Fatal(err)
		}
		if n, err = c.Read(buf); err != nil || string(buf[:n]) != text {
			t.Fatalf("%v: %d bytes back", err, n)
		}
	}
}

// freePorts are ports that nobody listens on at the moment.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ports = append(ports, uint16(ln.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func TestPublish(t *testing.T) {
	ports := freePorts(t, 2)
	g := start(t, func(n *hostnet.Network) {
		n.Ports = []hostnet.Port{
			{Host: ports[0], Guest: 80, Count: 1},
			{IP: netip.MustParseAddr("127.0.0.1"), Host: ports[1], Guest: 53, Count: 1, UDP: true},
		}
	})
	at, protocol := full("192.168.127.2:80")
	ln, err := gonet.ListenTCP(g.Stack, at, protocol)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "hello %v", c.RemoteAddr().(*net.TCPAddr).IP)
			_ = c.Close()
		}
	}()
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(host), ports[0]).String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != "hello 192.168.127.1" {
			t.Errorf("%s: %q, %v", host, got, err)
		}
		_ = c.Close()
	}

	at, protocol = full("192.168.127.2:53")
	echo, err := gonet.DialUDP(g.Stack, &at, nil, protocol)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = echo.Close() }()
	go func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
	}()
	for range 2 { // two clients
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", ports[1]))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = c.Write([]byte("question"))
		buf := make([]byte, 99)
		n, err := c.Read(buf)
		if err != nil || string(buf[:n]) != "re: question" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		_ = c.Close()
	}
}

// TestPublishClosed: a port of the container's that nobody listens on ends the
// client's connection.
func TestPublishClosed(t *testing.T) {
	port := freePorts(t, 1)[0]
	start(t, func(n *hostnet.Network) { n.Ports = []hostnet.Port{{Host: port, Guest: 81, Count: 1}} })
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil { // or the answer comes even before this sees the connection
		_, err = io.ReadAll(c)
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

func TestPublishInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	cfg := hostnet.DefaultUser()
	cfg.Ports = []hostnet.Port{{IP: netip.MustParseAddr("127.0.0.1"), Host: port, Guest: 80, Count: 1}}
	for want, ip := range map[string]string{
		fmt.Sprintf("publish 127.0.0.1:%d/tcp: it is in use on this host", port):          "127.0.0.1",
		fmt.Sprintf("publish 198.51.100.9:%d/tcp: that is no address of this host", port): "198.51.100.9",
	} {
		cfg.Ports[0].IP = netip.MustParseAddr(ip)
		near, far := pair(t)
		_, err := New(cfg, near)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		_ = far.Close()
	}
}

// question is a question about a name.
func question(t *testing.T, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNames(t *testing.T) {
	g := start(t, func(n *hostnet.Network) {
		for _, h := range []string{"db.example:10.1.2.3", "db.example:[2001:db8::7]", "only4:10.9.9.9"} {
			if err := n.AddHost(h); err != nil {
				t.Fatal(err)
			}
		}
	})
	g.network.dns.servers = func() []netip.Addr { return nil }
	c := g.dialUDP("192.168.127.1:53")
	tcpConn, err := g.dial("[fd6d:766d:6e65::1]:53")
	if err != nil {
		t.Fatal(err)
	}
	defer tcpConn.Close()
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want string // the code and the answers
	}{
		{"db.example.", dnsmessage.TypeA, "RCodeSuccess 10.1.2.3"},
		{"DB.Example.", dnsmessage.TypeAAAA, "RCodeSuccess 2001:db8::7"},
		{"only4.", dnsmessage.TypeAAAA, "RCodeSuccess"},
		{"only4.", dnsmessage.TypeMX, "RCodeSuccess"},
		{"elsewhere.example.", dnsmessage.TypeA, "RCodeServerFailure"},
	} {
		q := question(t, test.name, test.kind)
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, maxDatagram)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := summary(t, buf[:n]); got != test.want {
			t.Errorf("%s %v: %s, want %s", test.name, test.kind, got, test.want)
		}
		if err := writeMessage(tcpConn, q); err != nil {
			t.Fatal(err)
		}
		if a, err := readMessage(tcpConn); err != nil || !bytes.Equal(a, buf[:n]) {
			t.Errorf("over TCP: %q, %v", a, err)
		}
	}
}

func summary(t *testing.T, answer []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil || m.ID != 4711 || !m.Response {
		t.Fatalf("%v: %+v", err, m)
	}
	s := m.RCode.GoString()
	s = strings.TrimPrefix(s, "dnsmessage.")
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			s += " " + netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			s += " " + netip.AddrFrom16(b.AAAA).String()
		}
	}
	return s
}

// TestNamesElsewhere: questions go to the host's servers as they are, in turn, and
// answers come back as they are.
func TestNamesElsewhere(t *testing.T) {
	up, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := up.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = up.WriteToUDPAddrPort([]byte("xxstray"), from)
			_, _ = up.WriteToUDPAddrPort(append(buf[:n:n], "raw"...), from)
		}
	}()
	defer func() { _ = up.Close(); <-done }()
	r := newResolver(nil)
	r.port = up.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	// Nobody answers at the first: its port is closed.
	r.servers = func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}
	}
	q := question(t, "x.example.", dnsmessage.TypeTXT)
	if a := r.answer(q, askUDP); string(a) != string(q)+"raw" {
		t.Errorf("%q", a)
	}
}

// FuzzAnswer: no question makes the name server fail, and what it answers is an
// answer.
func FuzzAnswer(f *testing.F) {
	r := newResolver(nil)
	r.names["a."] = []netip.Addr{netip.MustParseAddr("1.2.3.4")}
	r.servers = func() []netip.Addr { return nil }
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, question []byte) {
		a := r.answer(question, askUDP)
		if a == nil {
			return
		}
		var p dnsmessage.Parser
		h, err := p.Start(a)
		if err != nil || !h.Response || a[0] != question[0] || a[1] != question[1] {
			t.Fatalf("%q: %q", question, a)
		}
	})
}

// FuzzFrame: a hostile guest's frames harm nobody.
func FuzzFrame(f *testing.F) {
	ethernet := "\x02mvmgw\x02guest"
	for _, s := range []string{
		"", "short", ethernet, ethernet + "\x08\x00", ethernet + "\x86\xdd", ethernet + "\x08\x06",
		ethernet + "\x08\x00\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\xc0\xa8\x7f\x02\x7f\x00\x00\x01\x08\x00\x00\x00\x00\x01\x00\x01",
		ethernet + "\x86\xdd\x60\x00\x00\x00\x00\x18\x3a\xff\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
			"\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\x00\x00\x01\x87\x00\x00\x00\x00\x00\x00\x00\xfe\x80",
	} {
		f.Add([]byte(s))
	}
	cfg := hostnet.DefaultUser()
	n := &Network{cfg: cfg, guest: cfg.Addr.Addr(), tcpSlots: make(chan struct{}), udpSlots: make(chan struct{}), dns: newResolver(nil)}
	n.gateway4, n.gateway6 = hostnet.Gateways()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "link")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		f.Fatal(err)
	}
	_ = unix.Close(fds[1]) // what is answered is lost
	n.link = newLink(conn.(*net.UnixConn), uint32(cfg.MTU()))
	n.pings = newPinger(n.link)
	n.pings.closed = true // nothing leaves
	if err := n.makeStack(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(n.Close)
	f.Fuzz(func(_ *testing.T, frame []byte) {
		if len(frame) >= header.EthernetMinimumSize && !n.intercept(frame) {
			n.link.deliver(frame)
		}
	})
}

// TestEcho has the host's kernel answer echo requests, in a network namespace of
// the test's own, where ping sockets are for everybody.
func TestEcho(t *testing.T) {
	near, far := pair(t)
	defer func() { _ = far.Close() }()
	p := newPinger(newLink(near, 1500))
	defer func() { _ = near.Close() }()
	done := make(chan struct{})
	go func() { // ends with its work, and so does its thread
		defer close(done)
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0)
		}
		if err == nil {
			err = loopbackUp()
		}
		if err != nil {
			t.Errorf("a network namespace (as root): %v", err)
			return
		}
		for _, addr := range []string{"127.0.0.1", "::1"} {
			pingOne(t, p, far, netip.MustParseAddr(addr))
		}
	}()
	<-done
	p.close()
	for p.count() > 0 { // until their goroutines have ended
		time.Sleep(time.Millisecond)
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func (p *pinger) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sockets)
}

func pingOne(t *testing.T, p *pinger, far net.Conn, to netip.Addr) {
	message := []byte{byte(header.ICMPv4Echo), 0, 0, 0, 0x12, 0x34, 0, 7, 'p', 'i', 'n', 'g'}
	from := netip.MustParseAddr("192.168.127.2")
	if to.Is6() {
		message[0], from = byte(header.ICMPv6EchoRequest), netip.MustParseAddr("fd6d:766d:6e65::2")
	}
	p.send(ping{from: from, to: to, mac: [6]byte([]byte(guestMAC)), ident: 0x1234}, message)
	buf := make([]byte, maxFrame)
	_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
	k, err := far.Read(buf)
	if err != nil {
		t.Errorf("%v: %v", to, err)
		return
	}
	reply := buf[:k]
	icmp := reply[len(reply)-len(message):]
	if string(reply[:6]) != guestMAC || binary.BigEndian.Uint16(icmp[4:]) != 0x1234 || string(icmp[8:]) != "ping" || icmp[0] == message[0] {
		t.Errorf("%v: % x", to, reply)
	}
	if to.Is4() && (!header.IPv4(reply[14:]).IsChecksumValid() || checksum.Checksum(icmp, 0) != 0xffff) {
		t.Errorf("checksums: % x", reply)
	}
}
