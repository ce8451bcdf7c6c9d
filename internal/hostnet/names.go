package hostnet

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// hostGateway is docker's word for the host in --add-host.
const hostGateway = "host-gateway"

// AddHost reads docker's NAME:ADDRESS, or NAME=ADDRESS, and adds it to the
// network's names. The address host-gateway is the gateway's, and opens the way
// from there to the host: on User, to its own 127.0.0.1.
func (n *Network) AddHost(s string) error {
	i := strings.IndexAny(s, ":=")
	if i < 0 {
		return fmt.Errorf("bad host %q: want NAME:ADDRESS", s)
	}
	name, addr := s[:i], strings.TrimSuffix(strings.TrimPrefix(s[i+1:], "["), "]")
	if !ValidName(name) {
		return fmt.Errorf("%q is no host name", name)
	}
	if addr == hostGateway {
		n.HostLoopback = true
		switch n.Kind {
		case Bridge: // which is not known yet
			n.Hosts = append(n.Hosts, proto.Host{Name: name})
			return nil
		case None, TAP:
			n.HostLoopback = false
			return fmt.Errorf("%s: %s is for --network user or bridge", s, hostGateway)
		case User:
		}
		addr = n.Gateway.String()
	}
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("%s: %q is no IP address", name, addr)
	}
	n.Hosts = append(n.Hosts, proto.Host{Name: name, Addr: a.Unmap()})
	return nil
}

// Bounds of a name in the DNS (RFC 1035, 2.3.4), in bytes.
const maxName, maxLabel = 253, 63

// ValidName says whether a name can be a host's. It is stricter than the DNS, which takes any bytes: what goes into
// /etc/hosts must be one word of one line.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
		if label == "" || len(label) > maxLabel || strings.Trim(label, letters) != "" {
			return false
		}
	}
	return true
}

// ResolvConf is what mvm understands of resolv.conf(5).
type ResolvConf struct {
	Servers []netip.Addr
	Search  []string
}

// Bounds of resolv.conf: what glibc takes.
const maxServers, maxSearch = 3, 6

// ReadResolvConf reads the host's. A host without one has no name servers.
func ReadResolvConf() (ResolvConf, error) {
	f, err := os.Open("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return ResolvConf{}, nil
	}
	if err != nil {
		return ResolvConf{}, err
	}
	defer func() { _ = f.Close() }()
	return ParseResolvConf(f)
}

// ParseResolvConf reads what it understands, and passes over the rest.
func ParseResolvConf(r io.Reader) (ResolvConf, error) {
	var c ResolvConf
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		words := strings.Fields(sc.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil && len(c.Servers) < maxServers {
				c.Servers = append(c.Servers, a)
			}
		case "search", "domain": // the last one counts
			c.Search = nil
			for _, name := range words[1:] {
				if name = strings.TrimSuffix(name, "."); ValidName(name) && len(c.Search) < maxSearch {
					c.Search = append(c.Search, name)
				}
			}
		}
	}
	return c, sc.Err()
}

// Beyond are those servers that can be reached from elsewhere too.
func (c ResolvConf) Beyond() []netip.Addr {
	var servers []netip.Addr
	for _, s := range c.Servers {
		if !s.IsLoopback() && !s.IsLinkLocalUnicast() {
			servers = append(servers, s)
		}
	}
	return servers
}
