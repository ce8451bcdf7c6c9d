package usernet

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// intercept takes the frames that are not for netstack, which with an interface
// that stands for every address would answer in the name of each: echo requests,
// which are the pinger's, and who-has questions for any address but the gateways'.
func (n *Network) intercept(frame []byte) bool {
	payload := frame[header.EthernetMinimumSize:]
	switch header.Ethernet(frame).Type() {
	case header.ARPProtocolNumber:
		h := header.ARP(payload)
		return h.IsValid() && h.Op() == header.ARPRequest && addrOf(tcpip.AddrFrom4Slice(h.ProtocolAddressTarget())) != n.gateway4
	case header.IPv4ProtocolNumber:
		return n.intercept4(frame, payload)
	case header.IPv6ProtocolNumber:
		return n.intercept6(frame, payload)
	}
	return false
}

func (n *Network) intercept4(frame, packet []byte) bool {
	ip := header.IPv4(packet)
	if !ip.IsValid(len(packet)) || ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) || ip.More() || ip.FragmentOffset() != 0 {
		return false
	}
	icmp := header.ICMPv4(ip.Payload())
	dst := addrOf(ip.DestinationAddress())
	if len(icmp) < header.ICMPv4MinimumSize || icmp.Type() != header.ICMPv4Echo || dst == n.gateway4 {
		return false
	}
	n.echo(frame, addrOf(ip.SourceAddress()), dst, icmp)
	return true
}

func (n *Network) intercept6(frame, packet []byte) bool {
	ip := header.IPv6(packet)
	if !ip.IsValid(len(packet)) || ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
		return false
	}
	icmp := header.ICMPv6(ip.Payload())
	if len(icmp) < header.ICMPv6MinimumSize {
		return false
	}
	dst := addrOf(ip.DestinationAddress())
	switch icmp.Type() {
	case header.ICMPv6NeighborSolicit:
		body := icmp.MessageBody()
		return len(body) < header.IPv6AddressSize+4 ||
			addrOf(tcpip.AddrFrom16Slice(body[4:4+header.IPv6AddressSize])) != n.gateway6
	case header.ICMPv6EchoRequest:
		if dst == n.gateway6 {
			return false
		}
		n.echo(frame, addrOf(ip.SourceAddress()), dst, icmp)
		return true
	}
	return false
}

// echo sends an echo request on, if it may go where it is meant to.
func (n *Network) echo(frame []byte, from, to netip.Addr, message []byte) {
	if dst, ok := n.destination(to); ok {
		n.pings.send(ping{
			from: from, to: dst, mac: [6]byte(frame[6:12]), ident: binary.BigEndian.Uint16(message[4:]),
		}, message)
	}
}

// ping is what the echo requests of one program in the container have in common.
type ping struct {
	from, to netip.Addr
	mac      [6]byte
	ident    uint16
}

// pinger carries echo requests by the host's ping sockets (icmp(7)), one for each
// ping, and brings the replies back. The host's net.ipv4.ping_group_range says
// who may have one: without that there is no answer.
type pinger struct {
	link *link

	mu      sync.Mutex
	sockets map[ping]*os.File
	closed  bool
}

func newPinger(l *link) *pinger { return &pinger{link: l, sockets: map[ping]*os.File{}} }

// restPing is how long a ping may rest before its socket is closed.
const restPing = 10 * time.Second

// send sends an ICMP message, whose identifier and checksum the host makes its own.
func (p *pinger) send(k ping, message []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sockets[k]
	if s == nil {
		var err error
		if p.closed || len(p.sockets) >= maxPing {
			return
		}
		if s, err = pingSocket(k.to); err != nil {
			return
		}
		p.sockets[k] = s
		go p.receive(k, s) // ends when the ping rests, or by close
	}
	_ = s.SetReadDeadline(time.Now().Add(restPing))
	_, _ = s.Write(message) // one that is lost is lost
}

func pingSocket(to netip.Addr) (*os.File, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(to.AsSlice())}
	if to.Is6() {
		family, protocol, sa = unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), "ping"), nil
}

func (p *pinger) receive(k ping, s *os.File) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := s.Read(buf)
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) {
			continue // somebody on the way says so
		}
		if err != nil {
			break
		}
		if frame := k.reply(buf[:n]); frame != nil {
			p.link.write(net.Buffers{frame})
		}
	}
	p.mu.Lock()
	delete(p.sockets, k)
	p.mu.Unlock()
	_ = s.Close()
}

func (p *pinger) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.sockets {
		_ = s.SetReadDeadline(time.Unix(1, 0))
	}
}

// replyHops is the hop limit of a reply, as a host far away would leave it.
const replyHops = 64

// reply is the frame of an echo reply; nil if message is none.
func (k ping) reply(message []byte) []byte {
	if len(message) < header.ICMPv4MinimumSize {
		return nil
	}
	kind, size := header.EthernetFields{SrcAddr: gatewayMAC, DstAddr: tcpip.LinkAddress(k.mac[:])}, len(message)
	binary.BigEndian.PutUint16(message[4:], k.ident)
	var ip []byte
	if k.to.Is4() {
		if message[0] != byte(header.ICMPv4EchoReply) {
			return nil
		}
		icmp := header.ICMPv4(message)
		icmp.SetChecksum(0)
		icmp.SetChecksum(^checksum.Checksum(icmp, 0))
		kind.Type = header.IPv4ProtocolNumber
		ip = make([]byte, header.IPv4MinimumSize)
		h := header.IPv4(ip)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(ip) + size), TTL: replyHops, Protocol: uint8(header.ICMPv4ProtocolNumber),
			SrcAddr: address(k.to), DstAddr: address(k.from),
		})
		h.SetChecksum(^h.CalculateChecksum())
	} else {
		if message[0] != byte(header.ICMPv6EchoReply) {
			return nil
		}
		icmp := header.ICMPv6(message)
		icmp.SetChecksum(0)
		icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: address(k.to), Dst: address(k.from)}))
		kind.Type = header.IPv6ProtocolNumber
		ip = make([]byte, header.IPv6MinimumSize)
		header.IPv6(ip).Encode(&header.IPv6Fields{
			PayloadLength: uint16(size), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: replyHops,
			SrcAddr: address(k.to), DstAddr: address(k.from),
		})
	}
	frame := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(ip)+size)
	header.Ethernet(frame).Encode(&kind)
	return append(append(frame, ip...), message...)
}
