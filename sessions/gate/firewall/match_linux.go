package firewall

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// match is a part of a rule. If a packet does not match a part, or lacks the
// field, the kernel continues with the next rule.
type match []expr.Any

// rule concatenates parts.
func rule(parts ...match) (exprs []expr.Any) {
	for _, p := range parts {
		exprs = append(exprs, p...)
	}
	return exprs
}

// Directions and status of a connection, as of
// include/uapi/linux/netfilter/nf_conntrack_{tuple_,}common.h.
const (
	original, reply = 0, 1
	statusSNAT      = 1 << 4
	statusDNAT      = 1 << 5
)

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: 1, Data: data}
}

func equal(data ...byte) expr.Any { return compare(expr.CmpOpEq, data) }

func (p Protocol) match() match {
	return match{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(byte(p))}
}

func family(nfproto byte) match {
	return match{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal(nfproto)}
}

// withoutExtensions matches UDP over IPv6 without extension headers.
func withoutExtensions() match {
	next := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 1}
	return append(family(unix.NFPROTO_IPV6), next, equal(unix.IPPROTO_UDP))
}

// loopback matches packets that this host sends to itself.
func loopback() match {
	return match{&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: 1},
		equal(binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)...)}
}

func loadDestinationPort() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func destinationPort(op expr.CmpOp, port uint16) match {
	return match{loadDestinationPort(), compare(op, binary.BigEndian.AppendUint16(nil, port))}
}

func destinationPorts(p access.Ports) match {
	return append(match{loadDestinationPort()}, within(p)...)
}

func sourcePorts(p access.Ports) match { return append(match{loadSourcePort()}, within(p)...) }

// within compares a port that was loaded.
func within(p access.Ports) match {
	first, last := binary.BigEndian.AppendUint16(nil, p.First), binary.BigEndian.AppendUint16(nil, p.Last)
	if p.First == p.Last {
		return match{equal(first...)}
	}
	return match{compare(expr.CmpOpGte, first), compare(expr.CmpOpLte, last)}
}

func loadSourcePort() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2}
}

// noPayload matches datagrams without a payload.
func noPayload() match {
	return match{loadUDPLength(), equal(0, udpHeader)}
}

func loadUDPLength() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 4, Len: 2}
}

// udpHeader is the length of a UDP header, and tcpFlags the offset of the flags
// in a TCP header.
const (
	udpHeader = 8
	tcpFlags  = 13
)

// The flags of TCP.
const (
	flagFIN, flagSYN, flagRST, flagACK = 1, 2, 4, 16
)

// flags compares some flags of a TCP segment.
func flags(mask byte, op expr.CmpOp, value byte) match {
	return match{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		compare(op, []byte{value}),
	}
}

// bareSYN matches segments that request a new connection, and nothing else.
func bareSYN() match { return flags(flagFIN|flagSYN|flagRST|flagACK, expr.CmpOpEq, flagSYN) }

func marked(mark uint32) match {
	return match{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equal(binaryutil.NativeEndian.PutUint32(mark)...)}
}

func destinationPortIn(s *nftables.Set) match { return match{loadDestinationPort(), in(s)} }

func sourcePortIn(s *nftables.Set) match { return match{loadSourcePort(), in(s)} }

func in(s *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}
}

func familyIn(s *nftables.Set) match {
	return match{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, in(s)}
}

// isGranted matches packets whose source a grant lets reach the port.
func (s portSets) isGranted() []match {
	if s.drawn != nil { // compared before translation
		return []match{labelled(labelDrawn)}
	}
	if s.isn4 != nil {
		return s.isISNGranted()
	}
	source4 := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	source6 := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
	toNetwork := firstBits(access.PrefixNetwork, 16)
	four, six := append(family(unix.NFPROTO_IPV4), source4), family(unix.NFPROTO_IPV6)
	if s.prefixLen4 < access.PrefixHost4 {
		four = append(four, firstBits(s.prefixLen4, 4))
	}
	return []match{
		append(four, in(s.granted4)),
		append(six, source6, in(s.granted6)),
		append(family(unix.NFPROTO_IPV6), source6, toNetwork, in(s.granted6net)),
		familyIn(s.anyone),
	}
}

// firstBits clears all but the first bits of an address of a number of bytes.
func firstBits(bits, bytes int) expr.Any {
	return &expr.Bitwise{
		SourceRegister: 1, DestRegister: 1, Len: uint32(bytes), Mask: net.CIDRMask(bits, 8*bytes), Xor: make([]byte, bytes),
	}
}

func familyOf(a netip.Addr) match {
	if a.Is4() {
		return family(unix.NFPROTO_IPV4)
	}
	return family(unix.NFPROTO_IPV6)
}

// destination matches packets to an address; all packets, if the address is
// zero.
func destination(a netip.Addr) match {
	if !a.IsValid() {
		return nil
	}
	field := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	if a.Is6() {
		field.Offset, field.Len = 24, 16
	}
	return append(familyOf(a), field, equal(a.AsSlice()...))
}

// local matches packets to an address of this host.
func local() match {
	return match{addressType(), equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)...)}
}

// toHost matches packets to this host, at any address, including broadcast and
// multicast.
func toHost() match {
	return match{addressType(), compare(expr.CmpOpNeq, binaryutil.NativeEndian.PutUint32(unix.RTN_UNICAST))}
}

func addressType() expr.Any { return &expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true} }

// hasSocket matches packets for which this host has a socket, bound to all
// addresses or to one. One nft expression cannot match both.
func hasSocket(allAddresses bool) match {
	m := match{&expr.Socket{Key: expr.SocketKeyWildcard, Register: 1}, equal(0)}
	if allAddresses {
		m[1] = equal(1)
	}
	return m
}

// likeKnock matches UDP whose length and first bytes are those of a knock.
func likeKnock() match {
	return match{
		loadUDPLength(), equal(0, udpHeader+wire.Size),
		&expr.Payload{
			DestRegister: 1, Base: expr.PayloadBaseTransportHeader,
			Offset: udpHeader + wire.OffsetMagic, Len: uint32(len(wire.Magic)),
		}, equal([]byte(wire.Magic)...),
	}
}

func direction(d byte) match {
	return match{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, equal(d)}
}

// state matches packets in one of the states.
func state(bits uint32) match { return anyBit(expr.CtKeySTATE, bits) }

// status matches packets of connections with one of the bits.
func status(bits uint32) match { return anyBit(expr.CtKeySTATUS, bits) }

func anyBit(key expr.CtKey, bits uint32) match {
	return match{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4),
		},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}
}

// ctDestination matches connections whose packets of a direction had one of the
// ports as their destination before translation. The library sends the direction as
// four bytes, the highest first; the kernel reads the first one.
func ctDestination(d byte, p access.Ports) match {
	load := &expr.Ct{Key: expr.CtKeyPROTODST, Direction: uint32(d) << 24, Register: 1}
	return append(match{load}, within(p)...)
}

// label is a bit of a connection's label (connlabel), which has room for many
// programs. A mark is one number, and policy routing compares it as a whole.
type label uint8

// The labels.
const (
	// labelGranted is on connections that a grant let in.
	labelGranted label = 101
	// labelBegun is on TCP connections whose SYN left this host, or a host
	// behind it, from a guarded port.
	labelBegun label = 102
	// labelStray is on UDP flows from a guarded port that appear to have begun
	// on this side, but shortly after a gap, in which a stranger may have sent
	// the first datagram.
	labelStray label = 103
	// labelTrusted is on connections of trusted peers. It lets no packet in: it
	// only shows that the connection is no stranger's, where the connection does
	// not show on which interface its packets arrive.
	labelTrusted label = 104
	// labelDrawn is on connections to a drawn port, which this table has redirected.
	labelDrawn label = 105
	// labelEntered is on connections to a port on trial that began by a grant.
	labelEntered label = 107
)

// bits returns the label as the kernel has it: 128 bits in the byte order of
// the host.
func (l label) bits() []byte {
	b := make([]byte, 16)
	place := int(l) / 8
	if binaryutil.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		place = 15 - place
	}
	b[place] = 1 << (l % 8)
	return b
}

func labelled(l label) match {
	return match{
		&expr.Ct{Key: expr.CtKeyLABELS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: l.bits(), Xor: make([]byte, 16)},
		compare(expr.CmpOpNeq, make([]byte, 16)),
	}
}

// setLabel labels the packet's connection. Other labels stay.
func setLabel(l label) match {
	return match{
		&expr.Immediate{Register: 1, Data: l.bits()},
		&expr.Ct{Key: expr.CtKeyLABELS, SourceRegister: true, Register: 1},
	}
}

// Verdicts.
var (
	accept  = match{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop    = match{&expr.Verdict{Kind: expr.VerdictDrop}}
	ret     = match{&expr.Verdict{Kind: expr.VerdictReturn}}
	notrack = match{&expr.Notrack{}}
)

func goTo(c *nftables.Chain) match {
	return match{&expr.Verdict{Kind: expr.VerdictGoto, Chain: c.Name}}
}

func jump(chain string) match { return match{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

// refuse is the verdict on strangers' packets.
func (p Port) refuse() match {
	switch {
	case !p.Reject:
		return drop
	case p.Protocol == TCP:
		return append(p.Protocol.match(), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	}
	return match{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
}
