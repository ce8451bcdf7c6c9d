package usernet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// forwardTCP takes the container up on a connection once the host has one to the
// same destination. netstack calls it in a goroutine, which ends with both.
func (n *Network) forwardTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	to := addrOf(id.LocalAddress)
	select {
	case n.tcpSlots <- struct{}{}:
		defer func() { <-n.tcpSlots }()
	default:
		r.Complete(true)
		return
	}
	if (to == n.gateway4 || to == n.gateway6) && id.LocalPort == dnsPort {
		if guest := accept(r); guest != nil {
			n.dns.serveTCP(guest)
		}
		return
	}
	dst, ok := n.destination(to)
	if !ok {
		r.Complete(true)
		return
	}
	host, err := n.dialer.Dial("tcp", netip.AddrPortFrom(dst, id.LocalPort).String())
	if err != nil {
		// Without an answer there is none to give.
		r.Complete(!errors.Is(err, syscall.ETIMEDOUT) && !isTimeout(err))
		return
	}
	if guest := accept(r); guest != nil {
		splice(guest, host.(*net.TCPConn))
		return
	}
	abort(host)
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// keepAlive is how long the container may say nothing before it is asked whether
// it still has the connection: one that was started again does not.
const keepAlive = time.Minute

// accept ends the container's side of a connection here; nil if that has gone.
func accept(r *tcp.ForwarderRequest) *guestConn {
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	r.Complete(err != nil)
	if err != nil {
		return nil
	}
	return newGuestConn(&queue, ep)
}

// guestConn is a connection with the container.
type guestConn struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
}

func newGuestConn(queue *waiter.Queue, ep tcpip.Endpoint) *guestConn {
	idle := tcpip.KeepaliveIdleOption(keepAlive)
	_ = ep.SetSockOpt(&idle) // fails only on a closed one
	ep.SocketOptions().SetKeepAlive(true)
	return &guestConn{gonet.NewTCPConn(queue, ep), ep}
}

// duplex is a connection of which each direction ends by itself.
type duplex interface {
	net.Conn
	CloseWrite() error
}

// splice carries bytes both ways until both have ended, or one has broken off.
func splice(guest, host duplex) {
	var both sync.WaitGroup
	carry := func(to, from duplex) {
		// Neither side's own copying fits here: it would move 32 KiB at a time.
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 128<<10))
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil { // what is left would be taken for a good end
			abort(host)
			abort(guest)
		}
	}
	both.Go(func() { carry(host, guest) })
	carry(guest, host)
	both.Wait()
	_ = host.Close()
	_ = guest.Close()
}

// abort ends a connection so that the other end is told.
func abort(c net.Conn) {
	switch c := c.(type) {
	case *net.TCPConn:
		_ = c.SetLinger(0) // a reset, in place of the end of the stream
	case *guestConn:
		c.ep.Abort()
		return
	}
	_ = c.Close()
}
