package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Port is a published port, or several in a row.
type Port struct {
	// IP is where the host listens; none: everywhere.
	IP netip.Addr `json:",omitzero"`
	// Host and Guest are the first of Count ports.
	Host, Guest, Count uint16
	UDP                bool `json:",omitempty"`
}

// maxPorts bounds the ports of one container: each is a socket.
const maxPorts = 1024

// ParsePorts reads docker's [IP:]HOST:CONTAINER[/PROTOCOL] of each, where both
// sides may be a range.
func ParsePorts(list []string) ([]Port, error) {
	var ports []Port
	sum := 0
	for _, s := range list {
		p, err := ParsePort(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		if sum += int(p.Count); sum > maxPorts {
			return nil, fmt.Errorf("%q: more than %d ports", s, maxPorts)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

var errPort = errors.New("want [IP:]HOST:CONTAINER[/tcp|/udp], such as 8080:80 or 127.0.0.1:5353:53/udp")

// ParsePort reads one of ParsePorts.
func ParsePort(s string) (p Port, err error) {
	s, protocol, given := strings.Cut(s, "/")
	switch {
	case protocol == "udp":
		p.UDP = true
	case given && protocol != "tcp":
		return Port{}, fmt.Errorf("there is no protocol %q here: want tcp or udp", protocol)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Port{}, errPort
	}
	host, guest := s[:i], s[i+1:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		ip := strings.TrimSuffix(strings.TrimPrefix(host[:i], "["), "]")
		if p.IP, err = netip.ParseAddr(ip); err != nil || p.IP.Zone() != "" {
			return Port{}, fmt.Errorf("%q is no IP address", ip)
		}
		host = host[i+1:]
	}
	var hosts uint16
	if p.Host, hosts, err = parseRange(host); err != nil {
		return Port{}, err
	}
	if p.Guest, p.Count, err = parseRange(guest); err != nil {
		return Port{}, err
	}
	if hosts != p.Count {
		return Port{}, fmt.Errorf("%d ports of the host's for %d of the container's", hosts, p.Count)
	}
	return p, nil
}

// parseRange reads N or N-M.
func parseRange(s string) (first, count uint16, err error) {
	from, to, ranged := strings.Cut(s, "-")
	first, err = parsePortNumber(from)
	if err != nil || !ranged {
		return first, 1, err
	}
	last, err := parsePortNumber(to)
	if err == nil && last < first {
		err = fmt.Errorf("the range %s ends before it begins", s)
	}
	return first, last - first + 1, err
}

func parsePortNumber(s string) (uint16, error) {
	if s == "" {
		return 0, errPort
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("there is no port %q: want 1 to 65535", s)
	}
	return uint16(n), nil
}

// Protocol is "tcp" or "udp".
func (p Port) Protocol() string {
	if p.UDP {
		return "udp"
	}
	return "tcp"
}

// Each calls f for each port: where the host listens, and the container's.
func (p Port) Each(f func(host netip.AddrPort, guest uint16) error) error {
	for i := range p.Count {
		if err := f(netip.AddrPortFrom(p.IP, p.Host+i), p.Guest+i); err != nil {
			return err
		}
	}
	return nil
}
