package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// proxied adds the rules of a port that has a listener. The guard chain compares each
// SYN with the grants, also one to whose ports conntrack has an earlier connection.
func (b builder) proxied(p Port, users []uint32) {
	port, at := access.Ports{First: p.Port, Last: p.Port}, p.listenerAt()[0]
	b.redirectToListener(p, port)
	if p.Reject && !b.can.earlyReject {
		p.Reject = false
	}
	chain := func(suffix string) *nftables.Chain {
		return b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name() + suffix})
	}
	asked, listener, direct := chain(""), chain("_listener"), chain("_direct")
	b.rule(asked, notBareSYN(), state(expr.CtStateBitESTABLISHED), labelled(labelDrawn), accept)
	for _, is := range p.sets().isGranted() {
		b.rule(asked, is, accept)
	}
	b.rule(asked, p.refuse())
	b.rule(listener, labelled(labelDrawn), accept)
	b.rule(listener, p.refuse())
	b.rule(direct, p.refuse())

	to := destination(p.Address)
	early := to
	if early == nil {
		early = toHost()
	}
	b.rule(b.base.guard, TCP.match(), destinationPorts(port), early, goTo(asked))
	b.rule(b.base.input, TCP.match(), destinationPorts(at.Ports), to, goTo(listener))
	b.rule(b.base.input, TCP.match(), destinationPorts(port), to, goTo(direct))
	if to != nil {
		b.rule(b.base.forward, TCP.match(), destinationPorts(port), to, goTo(direct))
	}
	// Other programs' translation of the port.
	b.published(p, direct)
	b.reverseNAT(p, direct)
	b.fromHere(p, port, at, users)
}

// redirectToListener sends new connections of admitted peers to the listener. The kernel
// has translated those of this host at output, if at all: the server's own lead to the
// program.
func (b builder) redirectToListener(p Port, port access.Ports) {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name() + "_redirect"})
	for _, is := range p.sets().isGranted() {
		b.rule(c, TCP.match(), is, setLabel(labelGranted), setLabel(labelDrawn), translateTo(p.Listener))
	}
	b.rule(b.base.drawn, p.ofThisHost(), TCP.match(), destinationPorts(port), goTo(c))
}

// ofThisHost matches packets to the port's address, or to all of this host.
func (p Port) ofThisHost() match {
	if p.Address.IsValid() {
		return destination(p.Address)
	}
	return local()
}

// fromHere lets only the server's users and root connect to the port from this host: a
// program that connects can claim any client's address. No program of this host connects
// to the listener.
func (b builder) fromHere(p Port, port access.Ports, at At, users []uint32) {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name() + "_local"})
	for _, uid := range users {
		b.rule(c, ownedBy(uid), accept)
	}
	closed := append(TCP.match(), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	b.rule(c, closed)
	b.rule(b.base.output, p.ofThisHost(), TCP.match(), destinationPorts(port), bareSYN(), goTo(c))
	b.rule(b.base.output, p.ofThisHost(), TCP.match(), destinationPorts(at.Ports), bareSYN(), closed)
}

// refuseTranslatedHere rejects connections of this host that another table has translated
// to a port with a listener, or to the listener: fromHere has seen another port.
func (b builder) refuseTranslatedHere(cfg Config) {
	for _, p := range cfg.Ports {
		if !p.proxied() {
			continue
		}
		for _, port := range []uint16{p.Port, p.Listener} {
			b.rule(b.base.input, TCP.match(), destinationPorts(access.Ports{First: port, Last: port}), destination(p.Address),
				loopback(), direction(original), status(statusDNAT), match{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
		}
	}
}

// ownedBy matches packets of sockets that programs of a user have made.
func ownedBy(uid uint32) match {
	return match{&expr.Meta{Key: expr.MetaKeySKUID, Register: 1}, equal(binaryutil.NativeEndian.PutUint32(uid)...)}
}
