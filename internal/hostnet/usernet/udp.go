package usernet

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// How long a flow of datagrams may rest before it is forgotten, as Linux's
// conntrack has it: one that was answered, and one that was not; and one to a name
// server, which asks once.
const (
	restAnswered   = 2 * time.Minute
	restUnanswered = 30 * time.Second
	restDNS        = 10 * time.Second
)

// maxDatagram is the longest there can be.
const maxDatagram = 1 << 16

// forwardUDP takes up a flow of datagrams. What it does not take, netstack answers
// with "port unreachable".
func (n *Network) forwardUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to := addrOf(id.LocalAddress)
	dns := (to == n.gateway4 || to == n.gateway6) && id.LocalPort == dnsPort
	dst, ok := n.destination(to)
	if !ok && !dns {
		return false
	}
	select {
	case n.udpSlots <- struct{}{}:
	default:
		return true // lost, as on a full wire
	}
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	if err != nil {
		<-n.udpSlots
		return true
	}
	guest := gonet.NewUDPConn(&queue, ep)
	go func() { // ends when the flow rests
		defer func() { <-n.udpSlots }()
		defer func() { _ = guest.Close() }()
		if dns {
			n.dns.serveUDP(guest)
			return
		}
		host, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, id.LocalPort)))
		if err != nil {
			return
		}
		rest := restUnanswered
		if id.LocalPort == dnsPort {
			rest = restDNS
		}
		relay(guest, host, rest)
	}()
	return true
}

// relay carries datagrams both ways until none has come for some time, or one side
// has broken off. It closes host.
func relay(guest, host net.Conn, rest time.Duration) {
	f := flow{}
	f.rest.Store(int64(rest))
	f.touch()
	var both sync.WaitGroup
	both.Go(func() {
		f.carry(guest, host, func() { f.answered(rest) })
		_ = guest.Close() // ends the other
	})
	f.carry(host, guest, func() {})
	_ = host.Close()
	both.Wait()
}

// flow is when something last came, in either direction.
type flow struct {
	last, rest atomic.Int64 // nanoseconds since the epoch; a duration
}

func (f *flow) touch() { f.last.Store(time.Now().UnixNano()) }

func (f *flow) answered(first time.Duration) {
	if first == restUnanswered {
		f.rest.Store(int64(restAnswered))
	}
}

// deadline is when the flow will have rested for too long.
func (f *flow) deadline() time.Time { return time.Unix(0, f.last.Load()+f.rest.Load()) }

func (f *flow) carry(to, from net.Conn, each func()) {
	buf := make([]byte, maxDatagram)
	for {
		// What comes meanwhile does not move the deadline, but is seen at it.
		_ = from.SetReadDeadline(f.deadline())
		n, err := from.Read(buf)
		if isTimeout(err) && time.Now().Before(f.deadline()) {
			continue
		}
		if err != nil {
			return
		}
		f.touch()
		each()
		_, _ = to.Write(buf[:n]) // one that is lost is lost
	}
}
