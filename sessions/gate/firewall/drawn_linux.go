package firewall

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// A service whose port rotates has sets of source address and drawn port, and no
// others: only the client that knocked knows the port, so none is open to anyone. nft
// 1.0.6 can print a concatenation of parts of a packet only, without a mask: so the
// network of an IPv6 address is its first 64 bits, that of an IPv4 address its first 16
// or 24, and the rules compare the port that the packet has before translation.

// drawnSets are the sets of a service whose port rotates.
type drawnSets struct {
	host4, host6, network6 *nftables.Set // source address, or its first bits, and drawn port

	bytes4 int // how many of an IPv4 address are in host4
	// used are the drawn ports on which the server listens. A stranger must not find
	// them; nil if drawn ports are redirected.
	used *nftables.Set
}

// The keys of the sets, as nft has them.
var (
	typeDrawn4   = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	typeDrawn6   = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	typeDrawnNet = drawnNetTypes()
)

// drawnNet is a key of the first bits of a source address and the port of a protocol.
type drawnNet struct {
	protocol     Protocol
	offset, bits uint32 // of the address
}

// drawnNetTypes returns the types of networks: a number of whole bytes of an address.
func drawnNetTypes() map[drawnNet]nftables.SetDatatype {
	types := map[drawnNet]nftables.SetDatatype{}
	for _, p := range []Protocol{TCP, UDP} {
		for _, n := range []drawnNet{{p, source4, 16}, {p, source4, 24}, {p, source6, access.PrefixNetwork}} {
			key := nftables.MustConcatSetType(nftables.TypeInteger, nftables.TypeInetService)
			key.Name = fmt.Sprintf("%s network %d . %s", p, n.bits, nftables.TypeInetService.Name)
			key.Bytes = (n.bits+31)/32*4 + 4 // each field fills its registers
			types[n] = key
		}
	}
	return types
}

// drawnNetOf returns the network whose type a key is.
func drawnNetOf(key nftables.SetDatatype) (drawnNet, bool) {
	for n, t := range typeDrawnNet {
		if t == key {
			return n, true
		}
	}
	return drawnNet{}, false
}

// userdata returns the user data that nft writes for a set of networks.
func (n drawnNet) userdata() []byte {
	protocol := uint32(protocolTCP)
	if n.protocol == UDP {
		protocol = protocolUDP
	}
	return concatUserdata(
		numbers(payloadProtocol, protocolNone, payloadType, fieldNone,
			payloadBase, baseNetwork, payloadOffset, n.offset*8, payloadLength, n.bits),
		numbers(payloadProtocol, protocol, payloadType, fieldDestination))
}

// The offsets of a source address in an IP header.
const source4, source6 = 12, 8

// drawnSets are the descriptions of a port's sets.
func (p Port) drawnSets() *drawnSets {
	s := &drawnSets{
		bytes4:   p.prefixLen4() / 8,
		host4:    concatSet(p.name()+"_drawn4", typeDrawn4),
		host6:    concatSet(p.name()+"_drawn6", typeDrawn6),
		network6: concatSet(p.name()+"_drawn6net", typeDrawnNet[drawnNet{p.Protocol, source6, access.PrefixNetwork}]),
	}
	if bits := p.prefixLen4(); bits < access.PrefixHost4 {
		s.host4 = concatSet(s.host4.Name, typeDrawnNet[drawnNet{p.Protocol, source4, uint32(bits)}])
	}
	if p.listens() {
		s.used = grantSet(p.name()+usedSuffix, nftables.TypeInetService)
		s.used.Size = 1 << 16
		s.used.Dynamic = p.Protocol == UDP // packets renew an element
	}
	return s
}

func (s *drawnSets) all() []*nftables.Set {
	all := []*nftables.Set{s.host4, s.host6, s.network6}
	if s.used != nil {
		all = append(all, s.used)
	}
	return all
}

// grant returns the element that admits a peer to its drawn port.
func (s *drawnSets) grant(to access.Peer) element {
	a := to.Prefix.Addr()
	set, key := s.host6, a.AsSlice()
	switch {
	case a.Is4():
		set = s.host4
	case !to.Prefix.IsSingleIP():
		set, key = s.network6, key[:access.PrefixNetwork/8]
	}
	key = append(binary.BigEndian.AppendUint16(key, to.Port), 0, 0) // each field fills its registers
	return element{set.Name, string(key)}
}

// drawnMatch matches packets of a family to a drawn port that a grant opens for
// their source.
type drawnMatch struct {
	nfproto byte
	match
}

func (s *drawnSets) matches(p Protocol) []drawnMatch {
	compare := func(offset, length, register uint32, in expr.Any) match {
		source := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
		port := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
		return append(p.match(), source, port, in)
	}
	const four, six = unix.NFPROTO_IPV4, unix.NFPROTO_IPV6
	return []drawnMatch{
		{four, compare(source4, uint32(s.bytes4), afterIPv4, in(s.host4))},
		{six, compare(source6, 16, afterIPv6, in(s.host6))},
		{six, compare(source6, access.PrefixNetwork/8, afterNetwork, in(s.network6))},
	}
}

// drawnMatches are the matches for packets to the port's address.
func (p Port) drawnMatches() (all []match) {
	to := destination(p.Address)
	for _, m := range p.drawnSets().matches(p.Protocol) {
		switch {
		case to == nil:
			all = append(all, append(family(m.nfproto), m.match...))
		case p.Address.Is4() == (m.nfproto == unix.NFPROTO_IPV4):
			all = append(all, append(append(match{}, to...), m.match...))
		}
	}
	return all
}

const (
	// usedSlack is how long after the last lease strangers still get the answer of an
	// unused port, from the table: until then the server has closed its socket.
	usedSlack = time.Minute
	// usedFlow is the same after the last datagram of a flow, for which the server
	// keeps its socket although the lease has ended.
	usedFlow = 10 * time.Minute
)

// Priorities of the base chains for drawn ports.
const (
	// drawnPriority runs before the chains of translation of other programs (-100).
	drawnPriority nftables.ChainPriority = -110
	// latePriority runs after the filters of other programs (0), and of security
	// (50), and before source addresses are translated (100).
	latePriority nftables.ChainPriority = 90
)

// withDrawn adds the base chains that drawn ports require.
func (b base) withDrawn(redirects, listens bool) base {
	chain := func(name string, t nftables.ChainType, hook *nftables.ChainHook, p nftables.ChainPriority) *nftables.Chain {
		policy := nftables.ChainPolicyAccept
		return &nftables.Chain{Table: table, Name: name, Type: t, Hooknum: hook, Priority: &p, Policy: &policy}
	}
	if redirects {
		b.drawn = chain("drawn", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, drawnPriority)
		b.drawnLocal = chain("drawn_local", nftables.ChainTypeNAT, nftables.ChainHookOutput, drawnPriority)
	}
	if listens {
		b.late = chain("late", nftables.ChainTypeFilter, nftables.ChainHookInput, latePriority)
	}
	return b
}

// usedElement is the element that shows that the server listens on a port.
func (s *drawnSets) usedElement(port uint16) element {
	return element{s.used.Name, string(binary.BigEndian.AppendUint16(nil, port))}
}

// use adds to want that the server listens on the port of a grant: for longer than
// the grant, and than earlier grants of the port.
func (t *Table) use(want targets, s *drawnSets, port uint16, left time.Duration) element {
	e := s.usedElement(port)
	want[e] = max(want[e], left+usedSlack)
	if end, ok := t.latestEnd[e]; ok {
		want[e] = max(want[e], end.Sub(t.clock.Monotonic())-slack)
	}
	return e
}

// concatSet returns a set without the library's own user data: addSet writes it.
func concatSet(name string, key nftables.SetDatatype) *nftables.Set {
	s := grantSet(name, key)
	s.KeyByteOrder = nil
	return s
}

// isUsed reports whether a set, by its name, has drawn ports on which the server
// listens.
func isUsed(set string) bool { return strings.HasSuffix(set, usedSuffix) }

const usedSuffix = "_used"

// portOf returns the guarded port of a service.
func (t *Table) portOf(id access.ServiceID) Port {
	i := slices.IndexFunc(t.cfg.Ports, func(p Port) bool { return p.Service == id })
	return t.cfg.Ports[i]
}
