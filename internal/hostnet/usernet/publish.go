package usernet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// publish listens on the host for the container.
func (n *Network) publish() error {
	for _, p := range n.cfg.Ports {
		open := n.publishTCP
		if p.UDP {
			open = n.publishUDP
		}
		err := p.Each(func(host netip.AddrPort, guest uint16) error {
			listen := host.String()
			if !host.Addr().IsValid() {
				listen = fmt.Sprintf(":%d", host.Port()) // IPv4 and IPv6
			}
			if err := open(listen, guest); err != nil {
				return fmt.Errorf("publish %s/%s: %w", strings.TrimPrefix(listen, ":"), p.Protocol(), explain(err))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// explain says what to do about a port that is not to be had.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return errors.New("it is in use on this host: choose another, or end what has it")
	case errors.Is(err, unix.EACCES):
		return errors.New("ports this low are root's (sysctl net.ipv4.ip_unprivileged_port_start): choose a higher one")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return errors.New("that is no address of this host: see ip address")
	}
	return err
}

func (n *Network) publishTCP(listen string, port uint16) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	n.listeners = append(n.listeners, ln.Close)
	go func() { // ends when the listener is closed
		for {
			host, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // the client has gone, or this process has no descriptor free
			}
			n.tcpSlots <- struct{}{}
			go func() { // ends with both connections
				defer func() { <-n.tcpSlots }()
				n.bring(host.(*net.TCPConn), port)
			}()
		}
	}()
	return nil
}

// bring connects a client of the host's to the container.
func (n *Network) bring(host *net.TCPConn, port uint16) {
	guest, err := n.dialTCP(host.RemoteAddr().(*net.TCPAddr).AddrPort(), port)
	if err != nil {
		abort(host)
		return
	}
	splice(guest, host)
}

// source is where a client's packets come from as the container sees them: from
// the client, if its address can be another host's, else from the gateway.
func (n *Network) source(client netip.AddrPort) tcpip.FullAddress {
	addr := client.Addr().Unmap()
	if _, ok := n.destination(addr); !ok || !addr.Is4() {
		return tcpip.FullAddress{NIC: nicID, Addr: address(n.gateway4)}
	}
	return tcpip.FullAddress{NIC: nicID, Addr: address(addr), Port: client.Port()}
}

// dialGuest connects to a port of the container's.
func (n *Network) dialGuest(client netip.AddrPort, port uint16) (duplex, error) {
	ctx, cancel := n.context()
	defer cancel()
	from := n.source(client)
	var queue waiter.Queue
	ep, err := n.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &queue)
	if err != nil {
		return nil, errors.New(err.String())
	}
	entry, done := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if err = ep.Bind(from); err == nil {
		err = ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: address(n.guest), Port: port})
	}
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Close()
			return nil, ctx.Err()
		case <-done:
			err = ep.LastError()
		}
	}
	if err != nil {
		ep.Close()
		return nil, errors.New(err.String())
	}
	return newGuestConn(&queue, ep), nil
}

func (n *Network) publishUDP(listen string, port uint16) error {
	addr, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	p := &udpPort{network: n, conn: conn, port: port, clients: map[netip.AddrPort]*udpClient{}}
	n.listeners = append(n.listeners, p.close)
	go p.serve() // ends when the socket is closed
	return nil
}

// udpPort is a published port of datagrams.
type udpPort struct {
	network *Network
	conn    *net.UDPConn
	port    uint16

	mu      sync.Mutex
	clients map[netip.AddrPort]*udpClient
}

// close ends the port, and its flows.
func (p *udpPort) close() error {
	err := p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		_ = c.guest.Close()
	}
	return err
}

func (p *udpPort) serve() {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier answer could not be delivered
		}
		if c := p.client(from); c != nil {
			c.flow.touch()
			_, _ = c.guest.Write(buf[:n]) // one that is lost is lost
		}
	}
}

// udpClient is a flow from one client.
type udpClient struct {
	guest net.Conn
	flow  flow
}

// dialGuestUDP begins a flow to a port of the container's.
func (n *Network) dialGuestUDP(client netip.AddrPort, port uint16) (net.Conn, error) {
	source := n.source(client)
	return gonet.DialUDP(n.stack, &source, &tcpip.FullAddress{NIC: nicID, Addr: address(n.guest), Port: port}, ipv4.ProtocolNumber)
}

// client finds the flow of a client, or begins one; nil if there is no room.
func (p *udpPort) client(from netip.AddrPort) *udpClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[from]; c != nil {
		return c
	}
	n := p.network
	select {
	case n.udpSlots <- struct{}{}:
	default:
		return nil
	}
	guest, err := n.dialUDP(from, p.port)
	if err != nil {
		<-n.udpSlots
		return nil
	}
	c := &udpClient{guest: guest}
	c.flow.rest.Store(int64(restAnswered))
	c.flow.touch()
	p.clients[from] = c
	go func() { // ends when the flow rests, or the port is closed
		defer func() { <-n.udpSlots }()
		c.flow.carry(toClient{p.conn, from}, guest, func() {})
		p.mu.Lock()
		delete(p.clients, from)
		p.mu.Unlock()
		_ = guest.Close()
	}()
	return c
}

// toClient is a socket as the connection to one of its clients.
type toClient struct {
	*net.UDPConn
	client netip.AddrPort
}

func (c toClient) Write(p []byte) (int, error) { return c.WriteToUDPAddrPort(p, c.client) }
