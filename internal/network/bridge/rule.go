package bridge

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostnet"
)

// rule is one rule, in nft(8)'s words and as the kernel takes it. Its methods add
// what has to match, and at last what is done then.
type rule struct {
	text  []string
	exprs []expr.Any
}

func (r rule) and(text string, exprs ...expr.Any) rule {
	return rule{append(r.text[:len(r.text):len(r.text)], text), append(r.exprs[:len(r.exprs):len(r.exprs)], exprs...)}
}

func (r rule) String() string { return strings.Join(r.text, " ") }

// reg is the register that values are loaded into to be compared.
const reg = 1

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data} }

func notEqual(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: data} }

// name is an interface's as the kernel compares it.
func name(device string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, device)
	return b
}

func (r rule) iif(device string) rule {
	return r.and(fmt.Sprintf("iifname %q", device), &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, equal(name(device)))
}

func (r rule) notIIF(device string) rule {
	return r.and(fmt.Sprintf("iifname != %q", device), &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, notEqual(name(device)))
}

func (r rule) oif(device string) rule {
	return r.and(fmt.Sprintf("oifname %q", device), &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}, equal(name(device)))
}

func (r rule) notOIF(device string) rule {
	return r.and(fmt.Sprintf("oifname != %q", device), &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}, notEqual(name(device)))
}

// load takes bytes of a packet.
func load(base expr.PayloadBase, offset, size uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: size}
}

// Where addresses are in the headers of IPv4 (RFC 791) and IPv6 (RFC 8200).
const (
	source4, destination4 = 12, 16
	source6, destination6 = 8, 24
)

// family holds for packets of IPv4 or IPv6, in a table of both.
func (r rule) family(ip6 bool) rule {
	if ip6 {
		return r.and("meta nfproto ipv6", &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equal([]byte{unix.NFPROTO_IPV6}))
	}
	return r.and("meta nfproto ipv4", &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equal([]byte{unix.NFPROTO_IPV4}))
}

// address compares an address of a packet of whose family it is known to be.
func (r rule) address(which string, offset4, offset6 uint32, p netip.Prefix) rule {
	keyword, offset := "ip", offset4
	if p.Addr().Is6() {
		keyword, offset = "ip6", offset6
	}
	text := p.String()
	want := p.Masked().Addr().AsSlice()
	exprs := []expr.Any{load(expr.PayloadBaseNetworkHeader, offset, uint32(len(want)))}
	if p.IsSingleIP() {
		text = p.Addr().String()
	} else {
		mask := make([]byte, len(want))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		exprs = append(exprs, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(want)), Mask: mask, Xor: make([]byte, len(want))})
	}
	return r.and(keyword+" "+which+" "+text, append(exprs, equal(want))...)
}

// from and to compare addresses in a table of both families.
func (r rule) from(p netip.Prefix) rule {
	return r.family(p.Addr().Is6()).address("saddr", source4, source6, p)
}

func (r rule) to(p netip.Prefix) rule {
	return r.family(p.Addr().Is6()).address("daddr", destination4, destination6, p)
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// toHost holds for packets to an address of the host's own.
func (r rule) toHost() rule {
	return r.and("fib daddr type local", &expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true}, equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)))
}

// established holds for what belongs to a connection that was let through.
func (r rule) established() rule {
	return r.ct("ct state established,related", expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// published holds for connections whose destination was changed.
func (r rule) published() rule { return r.ct("ct status dnat", expr.CtKeySTATUS, statusDNAT) }

func (r rule) ct(text string, key expr.CtKey, bits uint32) rule {
	return r.and(text, &expr.Ct{Key: key, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		notEqual(make([]byte, 4)))
}

// protocol holds for packets of a transport protocol.
func (r rule) protocol(text string, number byte) rule {
	return r.and(text, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equal([]byte{number}))
}

// port holds for packets to a port.
func (r rule) port(udp bool, port uint16) rule {
	keyword, number := "tcp", byte(unix.IPPROTO_TCP)
	if udp {
		keyword, number = "udp", unix.IPPROTO_UDP
	}
	return r.protocol(fmt.Sprintf("%s dport %d", keyword, port), number).
		and("", load(expr.PayloadBaseTransportHeader, 2, 2), equal(binary.BigEndian.AppendUint16(nil, port))).squeeze()
}

// squeeze takes away a last word that is empty.
func (r rule) squeeze() rule { return rule{r.text[:len(r.text)-1], r.exprs} }

// icmp holds for ICMP messages of a type.
func (r rule) icmp(ip6 bool, word string, kind byte) rule {
	keyword, number := "icmp", byte(unix.IPPROTO_ICMP)
	if ip6 {
		keyword, number = "icmpv6", unix.IPPROTO_ICMPV6
	}
	return r.protocol(keyword+" type "+word, number).
		and("", load(expr.PayloadBaseTransportHeader, 0, 1), equal([]byte{kind})).squeeze()
}

// etherType holds for frames of a type, and none with a VLAN's tag.
func (r rule) etherType(word string, kind uint16) rule {
	return r.and("ether type "+word, load(expr.PayloadBaseLLHeader, 12, 2), equal(binary.BigEndian.AppendUint16(nil, kind)))
}

// notMAC holds for frames from another address.
func (r rule) notMAC(m hostnet.MAC) rule {
	return r.and("ether saddr != "+m.String(), load(expr.PayloadBaseLLHeader, 6, 6), notEqual(m[:]))
}

// unlike holds for what at offset of the header of base is not data.
func (r rule) unlike(text string, base expr.PayloadBase, offset uint32, data []byte) rule {
	return r.and(text, load(base, offset, uint32(len(data))), notEqual(data))
}

func (r rule) accept() rule     { return r.and("accept", &expr.Verdict{Kind: expr.VerdictAccept}) }
func (r rule) drop() rule       { return r.and("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }
func (r rule) masquerade() rule { return r.and("masquerade", &expr.Masq{}) }

// reject drops, and says so: nobody waits for what will not come.
func (r rule) reject() rule {
	return r.and("reject with icmpx type admin-prohibited", &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED})
}

func (r rule) jump(chain string) rule {
	return r.and("jump "+chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

// dnat changes where a connection goes to.
func (r rule) dnat(to netip.AddrPort) rule {
	keyword, family := "ip", uint32(unix.NFPROTO_IPV4)
	if to.Addr().Is6() {
		keyword, family = "ip6", unix.NFPROTO_IPV6
	}
	return r.and(fmt.Sprintf("dnat %s to %v", keyword, to),
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2})
}

// chain is a chain with its rules; one without a hook is jumped to.
type chain struct {
	name     string
	kind     nftables.ChainType
	hookName string
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    []rule
}

func (c *chain) add(r ...rule) { c.rules = append(c.rules, r...) }

// table is one table.
type table struct {
	name   string
	family nftables.TableFamily
	chains []*chain
}

// String is the table as nft -f reads it.
func (t table) String() string {
	var b strings.Builder
	family := "inet"
	if t.family == nftables.TableFamilyBridge {
		family = "bridge"
	}
	fmt.Fprintf(&b, "table %s %s {\n", family, t.name)
	for _, c := range t.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != nil {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.kind, c.hookName, c.priority)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%v\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// load puts the table's new content into a batch, whatever there was before.
func (t table) load(c *nftables.Conn) {
	nt := t.empty(c)
	chains := map[string]*nftables.Chain{}
	for _, ch := range t.chains { // before the rules that jump to them
		nc := &nftables.Chain{Name: ch.name, Table: nt}
		if ch.hook != nil {
			nc.Type, nc.Hooknum, nc.Priority = ch.kind, ch.hook, &ch.priority
		}
		chains[ch.name] = c.AddChain(nc)
	}
	for _, ch := range t.chains {
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: nt, Chain: chains[ch.name], Exprs: r.exprs})
		}
	}
}

// empty makes the table be there, with nothing in it.
func (t table) empty(c *nftables.Conn) *nftables.Table {
	nt := t.remove(c)
	return c.AddTable(nt)
}

// remove takes the table away, if it is there or not: only one that is there can be.
func (t table) remove(c *nftables.Conn) *nftables.Table {
	nt := &nftables.Table{Name: t.name, Family: t.family}
	c.AddTable(nt)
	c.DelTable(nt)
	return nt
}
