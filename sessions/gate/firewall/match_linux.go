package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// match is a part of a rule. A packet of which one part is not true, or not
// there, goes on to the next rule.
type match []expr.Any

// rule joins parts.
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

// loopback is true of what this host sends to itself.
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

// empty is true of datagrams without a payload.
func empty() match {
	return match{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 4, Len: 2}, equal(0, 8)}
}

func marked(mark uint32) match {
	return match{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equal(binaryutil.NativeEndian.PutUint32(mark)...)}
}

func destinationPortIn(s *nftables.Set) match {
	return match{loadDestinationPort(), &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}}
}

func familyOf(a netip.Addr) match {
	if a.Is4() {
		return family(unix.NFPROTO_IPV4)
	}
	return family(unix.NFPROTO_IPV6)
}

// destination is true of packets to an address; to any, if there is none.
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

// local is true of packets to an address of this host.
func local() match {
	return match{&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)...)}
}

// heard is true of packets that a socket of this host takes.
func heard() match {
	return match{&expr.Socket{Key: expr.SocketKeyWildcard, Register: 1}}
}

func direction(d byte) match {
	return match{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, equal(d)}
}

// state is true of packets in one of the states.
func state(bits uint32) match { return anyBit(expr.CtKeySTATE, bits) }

// status is true of packets of connections with one of the bits.
func status(bits uint32) match { return anyBit(expr.CtKeySTATUS, bits) }

func anyBit(key expr.CtKey, bits uint32) match {
	return match{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}
}

// aimed is true of connections whose packets of a direction are sent to a
// port, and to an address if there is one, as they come in.
func aimed(d byte, port uint16, a netip.Addr) (m match) {
	if a.IsValid() {
		m = append(familyOf(a), at(d, expr.CtKeyDST), equal(a.AsSlice()...))
	}
	return append(m, at(d, expr.CtKeyPROTODST), equal(binary.BigEndian.AppendUint16(nil, port)...))
}

// at loads an end of a connection. The kernel takes the direction from the
// first byte of what the library sends as four, the highest one first.
func at(d byte, key expr.CtKey) expr.Any {
	return &expr.Ct{Key: key, Direction: uint32(d) << 24, Register: 1}
}

// Verdicts.
var (
	accept  = match{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop    = match{&expr.Verdict{Kind: expr.VerdictDrop}}
	notrack = match{&expr.Notrack{}}
)

func goTo(c *nftables.Chain) match {
	return match{&expr.Verdict{Kind: expr.VerdictGoto, Chain: c.Name}}
}

// refuse is the end of strangers' packets.
func (p Port) refuse() match {
	switch {
	case !p.Reject:
		return drop
	case p.Protocol == TCP:
		return match{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	}
	return match{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
}
