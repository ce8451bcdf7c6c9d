package usernet

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// bridged is a container that has joined a bridge.
func bridged() hostnet.Network {
	return hostnet.Network{
		Kind: hostnet.Bridge, Name: "back", MAC: hostnet.MAC([]byte(guestMAC)),
		Addr: netip.MustParsePrefix("10.231.0.2/24"), Gateway: netip.MustParseAddr("10.231.0.1"),
		Joined: hostnet.Joined{GatewayMAC: hostnet.MAC{2, 1, 2, 3, 4, 5}},
	}
}

// leases is a folder of them.
func leases(t *testing.T, list ...network.Lease) (dir string) {
	t.Helper()
	dir = t.TempDir()
	put := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(".new-x", []byte("half"))
	for _, l := range list {
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		put(l.Container, text)
	}
	return dir
}

// TestBridgeNames: containers are known by name, ID and alias, in whatever case, and
// others are asked for; the container has nothing else here.
func TestBridgeNames(t *testing.T) {
	cfg := bridged()
	cfg.Joined.Internal = true // nobody else is asked
	if err := cfg.AddHost("given:192.0.2.7"); err != nil {
		t.Fatal(err)
	}
	dir := leases(
		t,
		network.Lease{Container: "00a1", MAC: hostnet.MAC{2, 1}, Name: "db", Aliases: []string{"sql", "shared"}, Addr: netip.MustParseAddr("10.231.0.3"), Addr6: netip.MustParseAddr("fd00::3")},
		network.Lease{Container: "00a2", MAC: hostnet.MAC{2, 2}, Name: "web.example", Aliases: []string{"shared"}, Addr: netip.MustParseAddr("10.231.0.4")},
	)
	g := connect(t, cfg, func(near *net.UnixConn) (*Network, error) { return NewBridge(cfg, near, os.DirFS(dir)) })
	c := g.dialUDP("10.231.0.1:53")
	tcpConn, err := g.dial("10.231.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer tcpConn.Close()
	ask := func(name string, kind dnsmessage.Type) string {
		t.Helper()
		q := question(t, name, kind)
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, maxDatagram)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeMessage(tcpConn, q); err != nil {
			t.Fatal(err)
		}
		if a, err := readMessage(tcpConn); err != nil || string(a) != string(buf[:n]) {
			t.Errorf("over TCP: %q, %v", a, err)
		}
		return summary(t, buf[:n])
	}
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"db.", dnsmessage.TypeA, "RCodeSuccess 10.231.0.3"},
		{"DB.", dnsmessage.TypeAAAA, "RCodeSuccess fd00::3"},
		{"sql.", dnsmessage.TypeA, "RCodeSuccess 10.231.0.3"},
		{"00a2.", dnsmessage.TypeA, "RCodeSuccess 10.231.0.4"},
		{"Web.Example.", dnsmessage.TypeA, "RCodeSuccess 10.231.0.4"},
		{"web.example.", dnsmessage.TypeAAAA, "RCodeSuccess"},
		{"shared.", dnsmessage.TypeA, "RCodeSuccess 10.231.0.3 10.231.0.4"},
		{"given.", dnsmessage.TypeA, "RCodeSuccess 192.0.2.7"},
		{"new-x.", dnsmessage.TypeA, "RCodeServerFailure"},
		{"nobody.", dnsmessage.TypeA, "RCodeServerFailure"},
	} {
		if got := ask(test.name, test.kind); got != test.want {
			t.Errorf("%s %v: %s, want %s", test.name, test.kind, got, test.want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "00a1")); err != nil { // it has ended
		t.Fatal(err)
	}
	if got := ask("db.", dnsmessage.TypeA); got != "RCodeServerFailure" {
		t.Error(got)
	}
	if c, err := g.dial("10.231.0.1:80"); err == nil {
		c.Close()
		t.Error("the gateway has other servers")
	}
}

// TestBridgeServers: who is asked for the names of others.
func TestBridgeServers(t *testing.T) {
	given := []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	for _, test := range []struct {
		internal bool
		servers  []netip.Addr
		want     int
	}{{false, given, 1}, {true, nil, 0}, {true, given, 0}} {
		cfg := bridged()
		cfg.Servers, cfg.Joined.Internal = test.servers, test.internal
		near, _ := pair(t)
		n, err := NewBridge(cfg, near, fstest.MapFS{})
		if err != nil {
			t.Fatal(err)
		}
		if got := n.dns.servers(); len(got) != test.want {
			t.Errorf("%+v: %v", test, got)
		}
		n.Close()
	}
}

// TestBridgePublish: clients on the host get to the container's address by ordinary
// sockets. The host's loopback stands for the container.
func TestBridgePublish(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		cfg := bridged()
		cfg.Addr = netip.MustParsePrefix("127.0.0.9/8")
		port, guestPort := freePort(t, network), freePort(t, network)
		p := hostnet.Port{IP: netip.MustParseAddr("127.0.0.1"), Host: port, Guest: guestPort, Count: 1, UDP: network == "udp"}
		cfg.Ports = []hostnet.Port{p}
		echo(t, network, netip.AddrPortFrom(cfg.Addr.Addr(), guestPort).String())
		near, _ := pair(t)
		n, err := NewBridge(cfg, near, os.DirFS(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		c, err := net.Dial(network, netip.AddrPortFrom(p.IP, port).String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		buf := make([]byte, 5)
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
			t.Errorf("%s: %q, %v", network, buf, err)
		}
	}
}

// freePort is a port that is free on the loopback.
func freePort(t *testing.T, network string) uint16 {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

// echo is a server that sends back what comes.
func echo(t *testing.T, network, addr string) {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(buf[:n], from)
			}
		}()
		t.Cleanup(func() { _ = c.Close(); <-done })
		return
	}
	ln, err := net.Listen("tcp4", addr)
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
			_, _ = io.CopyN(c, c, 5)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
}

// TestNotBridged: what is not one is refused.
func TestNotBridged(t *testing.T) {
	for _, cfg := range []hostnet.Network{{}, hostnet.DefaultUser(), {Kind: hostnet.Bridge}} {
		near, _ := pair(t)
		if _, err := NewBridge(cfg, near, fstest.MapFS{}); err == nil {
			t.Errorf("%+v", cfg)
		}
		_ = near.Close()
	}
}
