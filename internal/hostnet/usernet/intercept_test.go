package usernet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// ethernet is a frame from the guest to the gateway, or to all.
func ethernet(kind uint16, payload ...byte) []byte {
	frame := append([]byte(gatewayMAC+guestMAC), byte(kind>>8), byte(kind))
	return append(frame, payload...)
}

func whoHas(addr string) []byte {
	frame := ethernet(0x0806, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(frame, guestMAC...)
	frame = append(frame, 192, 168, 127, 2, 0, 0, 0, 0, 0, 0)
	return append(frame, netip.MustParseAddr(addr).AsSlice()...)
}

func echoRequest(addr string) []byte {
	icmp := []byte{8, 0, 0, 0, 0, 9, 0, 1, 'x'}
	binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, 0))
	ip := make([]byte, header.IPv4MinimumSize)
	h := header.IPv4(ip)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip) + len(icmp)), TTL: 9, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: address(netip.MustParseAddr("192.168.127.2")), DstAddr: address(netip.MustParseAddr(addr)),
	})
	h.SetChecksum(^h.CalculateChecksum())
	return ethernet(0x0800, append(ip, icmp...)...)
}

func solicit(addr string) []byte {
	target := netip.MustParseAddr(addr)
	icmp := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	icmp = append(icmp, 1, 1)
	icmp = append(icmp, guestMAC...)
	from := netip.MustParseAddr("fd6d:766d:6e65::2")
	binary.BigEndian.PutUint16(icmp[2:], header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: address(from), Dst: address(target)}))
	ip := make([]byte, header.IPv6MinimumSize)
	header.IPv6(ip).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(icmp)), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 255,
		SrcAddr: address(from), DstAddr: address(target),
	})
	return ethernet(0x86dd, append(ip, icmp...)...)
}

// TestIntercept: netstack answers for the gateways, and for nobody else: neither
// who has an address, which IPv6 would take for a duplicate of the guest's own, nor
// a ping.
func TestIntercept(t *testing.T) {
	near, far := pair(t)
	n, err := New(hostnet.DefaultUser(), near)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve() }()
	defer func() {
		_ = far.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		n.Close()
	}()
	for _, test := range []struct {
		name          string
		other, marker []byte
		kind          uint16 // of the answer
	}{
		{"ARP", whoHas("192.168.127.77"), whoHas("192.168.127.1"), 0x0806},
		{"ARP of its own", whoHas("192.168.127.2"), whoHas("192.168.127.1"), 0x0806},
		{"neighbour", solicit("fd6d:766d:6e65::77"), solicit("fd6d:766d:6e65::1"), 0x86dd},
		{"duplicate", solicit("fe80::7"), solicit("fd6d:766d:6e65::1"), 0x86dd},
		{"ping", echoRequest("192.168.127.77"), echoRequest("192.168.127.1"), 0x0800},
		{"ping of the loopback", echoRequest("127.0.0.1"), echoRequest("192.168.127.1"), 0x0800},
	} {
		for _, frame := range [][]byte{test.other, test.marker} {
			if _, err := far.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
		if got := answer(t, far, test.kind); !sameTarget(got, test.marker, test.kind) {
			t.Errorf("%s: an answer to what is not for the gateway: % x", test.name, got)
		}
	}
}

// answer is the next frame of a kind: netstack has questions of its own.
func answer(t *testing.T, far net.Conn, kind uint16) []byte {
	t.Helper()
	_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		buf := make([]byte, maxFrame)
		k, err := far.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		frame := buf[:k]
		switch {
		case binary.BigEndian.Uint16(frame[12:]) != kind:
		case kind == 0x0806 && frame[21] != 2, kind == 0x86dd && frame[54] != 136: // no reply, no advertisement
		default:
			return frame
		}
	}
}

// sameTarget says whether an answer is from whom a frame asked for.
func sameTarget(answer, asked []byte, kind uint16) bool {
	switch kind {
	case 0x0806:
		return string(answer[28:32]) == string(asked[38:42])
	case 0x86dd:
		return string(answer[62:78]) == string(asked[62:78])
	}
	return string(answer[26:30]) == string(asked[30:34])
}
