package firewall

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// A service whose port rotates has sets of source address and drawn port, and no
// others: only the client that knocked knows the port, so none is open to anyone. nft 1.0.6 can print a concatenation of parts of a packet only, without a
// mask: so the network of an IPv6 address is its first 64 bits, and the rules compare
// the port that the packet has before translation.

// drawnSets are the sets of a service whose port rotates.
type drawnSets struct {
	host4, host6, network6 *nftables.Set // source address, or its first 64 bits, and drawn port
	// used are the drawn ports on which the server listens. A stranger must not find
	// them; nil if drawn ports are redirected.
	used *nftables.Set
}

// The keys of the sets, as nft has them.
var (
	typeDrawn4   = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	typeDrawn6   = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	typeDrawnNet = map[Protocol]nftables.SetDatatype{TCP: networkAndPort(TCP), UDP: networkAndPort(UDP)}
)

// networkAndPort is the type of 64 bits of an address and a port of a protocol.
func networkAndPort(p Protocol) nftables.SetDatatype {
	key := nftables.MustConcatSetType(nftables.TypeInteger, nftables.TypeInetService)
	key.Name, key.Bytes = p.String()+" network . "+nftables.TypeInetService.Name, access.PrefixNetwork/8+4
	return key
}

// drawnNetUserdata returns the user data that nft writes for a set of networks.
func drawnNetUserdata(key nftables.SetDatatype) []byte {
	protocol := uint32(protocolTCP)
	if key == typeDrawnNet[UDP] {
		protocol = protocolUDP
	}
	return concatUserdata(
		numbers(payloadProtocol, protocolNone, payloadType, fieldNone,
			payloadBase, baseNetwork, payloadOffset, source6*8, payloadLength, access.PrefixNetwork),
		numbers(payloadProtocol, protocol, payloadType, fieldDestination))
}

// The offsets of a source address in an IP header.
const source4, source6 = 12, 8

// drawnSets are the descriptions of a port's sets.
func (p Port) drawnSets() *drawnSets {
	s := &drawnSets{
		host4:    concatSet(p.name()+"_drawn4", typeDrawn4),
		host6:    concatSet(p.name()+"_drawn6", typeDrawn6),
		network6: concatSet(p.name()+"_drawn6net", typeDrawnNet[p.Protocol]),
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
		{four, compare(source4, 4, afterIPv4, in(s.host4))},
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
