package usernet

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/hostnet"
)

// resolver is the name server at the gateway: it knows the names of --add-host, and
// those of the other containers of a bridge, and passes all other questions on to
// the host's name servers as they are.
type resolver struct {
	names   map[string][]netip.Addr        // in lower case, with a dot at the end
	others  func(name string) []netip.Addr // nil: there are none
	servers func() []netip.Addr
	port    uint16 // of the servers
}

// serverPatience is how long a server may take to answer before the next is asked.
const serverPatience = 3 * time.Second

func newResolver(hosts []proto.Host) *resolver {
	r := &resolver{names: map[string][]netip.Addr{}, servers: hostServers(), port: dnsPort}
	for _, h := range hosts {
		name := strings.ToLower(h.Name) + "."
		r.names[name] = append(r.names[name], h.Addr)
	}
	return r
}

// serversAge is how old the list of the host's servers may be: a host changes
// networks while containers run.
const serversAge = 5 * time.Second

// hostServers gives the host's name servers.
func hostServers() func() []netip.Addr {
	var mu sync.Mutex
	var read time.Time
	var servers []netip.Addr
	return func() []netip.Addr {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(read) > serversAge {
			if c, err := hostnet.ReadResolvConf(); err == nil {
				servers = c.Servers
			}
			read = time.Now()
		}
		return servers
	}
}

// maxQuestions bounds the questions of one flow that wait for an answer.
const maxQuestions = 16

// serveUDP answers a flow of questions, until it rests.
func (r *resolver) serveUDP(guest net.Conn) {
	slots := make(chan struct{}, maxQuestions)
	buf := make([]byte, maxDatagram)
	for {
		_ = guest.SetReadDeadline(time.Now().Add(restDNS))
		n, err := guest.Read(buf)
		if err != nil {
			break
		}
		question := append([]byte(nil), buf[:n]...)
		slots <- struct{}{}
		go func() { // ends with the servers' patience
			defer func() { <-slots }()
			if answer := r.answer(question, askUDP); answer != nil {
				_, _ = guest.Write(answer)
			}
		}()
	}
	for range maxQuestions { // until all are answered
		slots <- struct{}{}
	}
}

// serveTCP answers questions, each behind its length (RFC 1035, 4.2.2).
func (r *resolver) serveTCP(guest net.Conn) {
	defer func() { _ = guest.Close() }()
	for {
		_ = guest.SetReadDeadline(time.Now().Add(restDNS))
		question, err := readMessage(guest)
		if err != nil {
			return
		}
		answer := r.answer(question, askTCP)
		if answer == nil || writeMessage(guest, answer) != nil {
			return
		}
	}
}

func readMessage(c io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, m)
	return m, err
}

func writeMessage(c io.Writer, m []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
	return err
}

// answer answers a question; nil if it is none.
func (r *resolver) answer(question []byte, ask func(server string, question []byte) ([]byte, error)) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	if addrs := r.known(strings.ToLower(q.Name.String())); len(addrs) > 0 {
		return ours(h, q, addrs)
	}
	for _, s := range r.servers() {
		if a, err := ask(netip.AddrPortFrom(s, r.port).String(), question); err == nil {
			return a
		}
	}
	return failure(h, q)
}

// known are the addresses of a name that is in lower case.
func (r *resolver) known(name string) []netip.Addr {
	addrs := r.names[name]
	if len(addrs) == 0 && r.others != nil {
		addrs = r.others(strings.TrimSuffix(name, "."))
	}
	return addrs
}

// reply begins the answer to a question.
func reply(h dnsmessage.Header, q dnsmessage.Question, code dnsmessage.RCode) dnsmessage.Message {
	return dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true, RCode: code,
		},
		Questions: []dnsmessage.Question{q},
	}
}

func failure(h dnsmessage.Header, q dnsmessage.Question) []byte {
	m := reply(h, q, dnsmessage.RCodeServerFailure)
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// ours answers for a name of --add-host. Of a name that is there a type that is
// not is no error.
func ours(h dnsmessage.Header, q dnsmessage.Question, addrs []netip.Addr) []byte {
	m := reply(h, q, dnsmessage.RCodeSuccess)
	m.Authoritative = true
	for _, a := range addrs {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	b, err := m.Pack()
	if err != nil {
		return failure(h, q)
	}
	return b
}

var errNotTheAnswer = errors.New("an answer to another question")

func askUDP(server string, question []byte) ([]byte, error) {
	c, err := dialServer("udp", server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	buf := make([]byte, maxDatagram)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 2 && buf[0] == question[0] && buf[1] == question[1] {
			return buf[:n], nil
		}
	}
}

func askTCP(server string, question []byte) ([]byte, error) {
	c, err := dialServer("tcp", server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := writeMessage(c, question); err != nil {
		return nil, err
	}
	a, err := readMessage(c)
	if err == nil && (len(a) < 2 || a[0] != question[0] || a[1] != question[1]) {
		err = errNotTheAnswer
	}
	return a, err
}

func dialServer(network, server string) (net.Conn, error) {
	c, err := net.DialTimeout(network, server, serverPatience)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(serverPatience))
}
