package usernet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxFrame is the longest frame there can be: an Ethernet header with a VLAN tag,
// and the longest IP packet.
const maxFrame = header.EthernetMinimumSize + 4 + 1<<16

// gatewayMAC is the stack's own: a local address, of no group.
const gatewayMAC = "\x02mvmgw"

// link is netstack's interface: a connection that keeps messages apart, each of
// them a frame. It implements stack.LinkEndpoint.
type link struct {
	conn io.ReadWriteCloser
	mtu  uint32
	mac  tcpip.LinkAddress
	// intercept takes a frame in netstack's stead, if it says so.
	intercept func(frame []byte) bool

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
}

func newLink(conn io.ReadWriteCloser, mtu uint32) *link {
	return &link{conn: conn, mtu: mtu, mac: gatewayMAC}
}

// serve gives netstack the frames that come, until the connection ends.
func (l *link) serve() error {
	buf := make([]byte, maxFrame)
	for {
		n, err := l.conn.Read(buf)
		// A reset: the other end had frames that it never read. A network that is down:
		// a TAP device that is gone.
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.ENETDOWN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("usernet: read a frame: %w", err)
		}
		if n < header.EthernetMinimumSize || l.intercept != nil && l.intercept(buf[:n]) {
			continue
		}
		l.deliver(buf[:n])
	}
}

func (l *link) deliver(frame []byte) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	if l.ParseHeader(pkt) {
		d.DeliverNetworkPacket(header.Ethernet(pkt.LinkHeader().Slice()).Type(), pkt)
	}
}

// write sends a frame. One that the other end does not take any more is lost.
func (l *link) write(pieces net.Buffers) {
	if _, vectors := l.conn.(*net.UnixConn); vectors {
		_, _ = pieces.WriteTo(l.conn)
		return
	}
	_, _ = l.conn.Write(bytes.Join(pieces, nil)) // a frame is one write
}

// WritePackets implements stack.LinkWriter. A connection that is full makes
// netstack wait: the guest has not taken what it asked for.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range packets.AsSlice() {
		l.write(p.AsSlices())
	}
	return packets.Len(), nil
}

// AddHeader implements stack.LinkEndpoint.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.LinkAddress(), DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.LinkEndpoint.
func (*link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached implements stack.LinkEndpoint.
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// Capabilities implements stack.LinkEndpoint. Between the guest and here is
// nothing that could break a packet.
func (*link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// The rest of stack.LinkEndpoint is what an Ethernet interface has, and never
// changes.

func (l *link) MTU() uint32                           { return l.mtu }
func (*link) SetMTU(uint32)                           {}
func (*link) MaxHeaderLength() uint16                 { return header.EthernetMinimumSize }
func (l *link) LinkAddress() tcpip.LinkAddress        { return l.mac }
func (*link) SetLinkAddress(tcpip.LinkAddress)        {}
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (*link) Wait()                                   {}
func (*link) Close()                                  {}
func (*link) SetOnCloseAction(func())                 {}
