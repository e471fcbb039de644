package firewall

import (
	"encoding/binary"
	"errors"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// redirect sends packets of admitted peers to the real port. Only the first packet of
// a connection reaches a chain of translation: conntrack translates the others alike.
// The packet keeps its address, which "redirect" of nft would change to the first one
// of the interface. Labels show that this table has redirected the connection: other
// programs' translation may lead to the same port.
func (b builder) redirect(p Port) {
	local := local()
	if p.Address.IsValid() {
		local = nil
	}
	for _, is := range p.drawnMatches() {
		for _, c := range []*nftables.Chain{b.base.drawn, b.base.drawnLocal} {
			b.rule(c, local, is, setLabel(labelGranted), setLabel(labelDrawn), translateTo(p.Port))
		}
	}
}

// errNoRedirect means that the kernel cannot redirect ports. Without labels, the table
// could not distinguish the connections that it has redirected.
var errNoRedirect = errors.New("a port that rotates, or that has a proxy before it, requires labels of connections (CONFIG_NF_CONNTRACK_LABELS), " +
	"and translation in the family inet (Linux 5.2)")

// translateTo changes the destination port of the connection.
func translateTo(port uint16) match {
	return match{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_INET, RegProtoMin: 1, RegProtoMax: 1, Specified: true},
	}
}

// guardDrawn compares packets of redirected connections with the grants, before
// translation: only there they have the drawn port. With Cut, it does so for each
// packet. Without it, only for a SYN, to whose ports conntrack may still have an
// earlier connection, of a lease that has ended.
func (b builder) guardDrawn(p Port) {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name() + "_drawn"})
	which := match{}
	switch {
	case p.Cut:
	case p.Protocol == TCP:
		which = bareSYN()
	default:
		return
	}
	for _, is := range p.drawnMatches() {
		b.rule(c, is, accept)
	}
	if p.Reject && !b.can.earlyReject {
		p.Reject = false
	}
	b.rule(c, p.refuse())
	b.rule(b.base.guard, p.Protocol.match(), which, direction(original), labelled(labelDrawn),
		ctSource(reply, access.Ports{First: p.Port, Last: p.Port}), goTo(c))
}

// ctSource matches connections whose packets of a direction have one of the ports as
// their source before translation.
func ctSource(d byte, p access.Ports) match {
	load := &expr.Ct{Key: expr.CtKeyPROTOSRC, Direction: uint32(d) << 24, Register: 1}
	return append(match{load}, within(p)...)
}

// listen admits peers to drawn ports on which the server listens, and answers
// strangers as an unused port does: after the filters of all other programs, which
// treat it as they treat other unused ports.
func (b builder) listen(p Port, stealth bool) {
	sets := p.drawnSets()
	granted := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name() + "_granted"})
	for _, is := range p.drawnMatches() {
		b.rule(granted, is, accept)
	}
	used := rule(destination(p.Address), p.Protocol.match(), destinationPortIn(sets.used))
	if stealth && p.Protocol == UDP {
		b.rule(b.base.input, used, jump(granted.Name))
	}
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name()})
	lives := state(expr.CtStateBitESTABLISHED)
	if p.Protocol == TCP {
		lives = append(notBareSYN(), lives...)
	} else {
		lives = append(lives, append(p.Protocol.match(), loadDestinationPort(), &expr.Dynset{
			SrcRegKey: 1, SetID: sets.used.ID, SetName: sets.used.Name, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: usedFlow,
		})...)
	}
	b.rule(c, lives, accept)
	b.rule(c, jump(granted.Name))
	p.Reject = true
	b.rule(c, p.refuse())
	b.rule(b.base.late, used, goTo(c))
}

// addDrawn adds the rules for drawn ports. They come before those that send packets
// to other chains.
func (b builder) addDrawn(cfg Config) {
	if cfg.listens() {
		b.rule(b.base.late, loopback(), accept)
	}
	for _, p := range cfg.Ports {
		switch {
		case p.redirects():
			b.redirect(p)
			b.guardDrawn(p)
		case p.listens():
			b.listen(p, cfg.Stealth)
		}
	}
}
