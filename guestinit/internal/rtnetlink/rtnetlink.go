// Package rtnetlink sets a network interface up by rtnetlink(7): the few messages
// that takes, in one system call each way.
package rtnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// SetUp sets an interface up, and gives it its addresses and routes. What is IPv6
// is left out on a kernel without it.
func SetUp(i proto.Interface) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("rtnetlink socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	index, err := indexOf(i.Name)
	if err != nil {
		return err
	}
	b := messages(index, i)
	if err := unix.Sendto(fd, b.data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("rtnetlink send: %w", err)
	}
	return b.acknowledged(fd)
}

func indexOf(name string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, fmt.Errorf("interface %s (the kernel needs virtio-net built in): %w", name, err)
	}
	return ifr.Uint32(), nil
}

// batch is messages for the kernel, and for the answer to each what it was for.
type batch struct {
	data  []byte
	about []string
	ip6   []bool
}

func messages(index uint32, i proto.Interface) *batch {
	b := &batch{}
	b.link(index, i.Name)
	for _, p := range i.Addresses {
		b.address(index, p)
	}
	for _, g := range i.Gateways {
		b.defaultRoute(index, g)
	}
	return b
}

const headerSize = 16 // struct nlmsghdr

// add appends a message: a header, a fixed part, then attributes.
func (b *batch) add(kind, flags uint16, ip6 bool, about string, fixed []byte, attributes ...attribute) {
	start := len(b.data)
	b.about, b.ip6 = append(b.about, about), append(b.ip6, ip6)
	d := slices.Concat(b.data, make([]byte, 4)) // the length, which is not known yet
	d = binary.NativeEndian.AppendUint16(d, kind)
	d = binary.NativeEndian.AppendUint16(d, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	d = binary.NativeEndian.AppendUint32(d, uint32(len(b.about))) // the sequence number
	d = append(d, 0, 0, 0, 0)                                     // from this process
	d = append(d, fixed...)
	for _, a := range attributes {
		d = binary.NativeEndian.AppendUint16(d, uint16(4+len(a.value)))
		d = binary.NativeEndian.AppendUint16(d, a.kind)
		d = append(d, a.value...) // of 4 or 16 bytes: nothing to align
	}
	binary.NativeEndian.PutUint32(d[start:], uint32(len(d)-start))
	b.data = d
}

type attribute struct {
	kind  uint16
	value []byte
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// link sets an interface up: struct ifinfomsg.
func (b *batch) link(index uint32, name string) {
	fixed := append([]byte{unix.AF_UNSPEC, 0, 0, 0}, number(index)...)
	fixed = append(fixed, number(unix.IFF_UP)...) // flags
	fixed = append(fixed, number(unix.IFF_UP)...) // which of them change
	b.add(unix.RTM_NEWLINK, 0, false, "set "+name+" up", fixed)
}

// address gives an interface an address: struct ifaddrmsg. An IPv6 address is
// used at once: nobody else has it.
func (b *batch) address(index uint32, p netip.Prefix) {
	family, flags := familyOf(p.Addr()), byte(0)
	if family == unix.AF_INET6 {
		flags = unix.IFA_F_NODAD
	}
	addr := p.Addr().AsSlice()
	b.add(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, family == unix.AF_INET6, "add the address "+p.String(),
		append([]byte{family, byte(p.Bits()), flags, unix.RT_SCOPE_UNIVERSE}, number(index)...),
		attribute{unix.IFA_LOCAL, addr}, attribute{unix.IFA_ADDRESS, addr})
}

// defaultRoute sends all else to a gateway: struct rtmsg. The gateway is taken to
// be on the link, whatever the interface's addresses say.
func (b *batch) defaultRoute(index uint32, g netip.Addr) {
	family := familyOf(g)
	fixed := []byte{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST}
	b.add(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, family == unix.AF_INET6, "add the default route by "+g.String(),
		append(fixed, number(unix.RTNH_F_ONLINK)...),
		attribute{unix.RTA_GATEWAY, g.AsSlice()}, attribute{unix.RTA_OIF, number(index)})
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// acknowledged reads the kernel's answer to each message: it has done them all
// when the send returns.
func (b *batch) acknowledged(fd int) error {
	var failed error
	buf := make([]byte, 4096)
	for left := len(b.about); left > 0; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return errors.Join(failed, fmt.Errorf("rtnetlink receive: %w", err))
		}
		for p := buf[:n]; len(p) >= headerSize+4; left-- {
			size := int(binary.NativeEndian.Uint32(p))
			if size < headerSize+4 || size > len(p) {
				return errors.Join(failed, errors.New("rtnetlink: an answer of no form"))
			}
			failed = errors.Join(failed, b.answer(p))
			p = p[min(len(p), (size+3)&^3):]
		}
	}
	return failed
}

// answer is the error in one answer: struct nlmsgerr.
func (b *batch) answer(p []byte) error {
	seq := binary.NativeEndian.Uint32(p[8:])
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(p[headerSize:])))
	if kind := binary.NativeEndian.Uint16(p[4:]); kind != unix.NLMSG_ERROR || seq < 1 || int(seq) > len(b.about) {
		return fmt.Errorf("rtnetlink: an answer of type %d to message %d", kind, seq)
	}
	noIPv6 := errno == unix.EOPNOTSUPP || errno == unix.EAFNOSUPPORT || errno == unix.EACCES
	if errno == 0 || b.ip6[seq-1] && noIPv6 {
		return nil
	}
	return fmt.Errorf("%s: %w", b.about[seq-1], errno)
}
