package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"sallyport/verify/schedule"
)

// priority is before the filters of others, so that a flood costs them
// nothing, nor their logs, and the order does not hang on who came first. It is
// after all translation of destinations.
const priority nftables.ChainPriority = -10

// base are the chains that packets come to by themselves.
type base struct{ prerouting, input, forward, output *nftables.Chain }

func newBase() base {
	chain := func(name string, hook *nftables.ChainHook, p nftables.ChainPriority) *nftables.Chain {
		policy := nftables.ChainPolicyAccept
		return &nftables.Chain{
			Table: table, Name: name, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: &p, Policy: &policy,
		}
	}
	return base{
		chain("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw),
		chain("input", nftables.ChainHookInput, priority),
		chain("forward", nftables.ChainHookForward, priority),
		chain("output", nftables.ChainHookOutput, *nftables.ChainPriorityRaw),
	}
}

// builder adds the rules of a configuration to a batch.
type builder struct {
	batch *nftables.Conn
	base  base
	sets  sets
}

func (b builder) rule(c *nftables.Chain, parts ...match) {
	b.batch.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: rule(parts...)})
}

// build expects the sets and base chains to be in the batch. The forward chain
// is only needed if some port is to be guarded there.
func (b builder) build(cfg Config) {
	// Fragments have been put together by now: that is done before, wherever
	// connections are tracked.
	b.rule(b.base.prerouting, UDP.match(), destinationPortIn(b.sets.knock), local(), notrack)
	if c := cfg.Captured; c != ([2]uint16{}) {
		b.rule(b.base.prerouting, UDP.match(), empty(), destinationPort(expr.CmpOpGte, c[0]), destinationPort(expr.CmpOpLte, c[1]), local(), notrack)
		b.rule(b.base.output, UDP.match(), marked(AnswerMark), notrack)
	}
	knock := []match{UDP.match(), destinationPortIn(b.sets.knock)}
	if cfg.Stealth {
		// Where nobody listens any more, the kernel would answer.
		knock = append(knock, heard())
	}
	b.rule(b.base.input, append(knock, accept)...)
	// What this host sends to itself: strangers cannot, and its own programs
	// need each other.
	b.rule(b.base.input, loopback(), accept)

	chains := make([]*nftables.Chain, len(cfg.Ports))
	for i, p := range cfg.Ports {
		chains[i] = b.port(p)
		if p.judgesReplies() {
			b.direct(p, chains[i])
			b.turned(p, chains[i])
		}
	}
	b.rule(b.base.input, direction(reply), accept)
	if cfg.forwards() {
		b.rule(b.base.forward, direction(reply), accept)
	}
	for i, p := range cfg.Ports {
		if !p.judgesReplies() {
			b.direct(p, chains[i])
		}
		b.published(p, chains[i])
	}
	if cfg.Stealth {
		b.rule(b.base.input, UDP.match(), destinationPort(expr.CmpOpGte, schedule.MinPort), goTo(b.stealth()))
	}
}

// judgesReplies reports whether packets to the port are not let in for being
// replies. A connection that the kernel has forgotten is tracked anew from
// the next packet of either end (nf_conntrack_tcp_loose): if that is this
// host's, what the client sends would be replies for ever. UDP has no other way
// to tell who began.
func (p Port) judgesReplies() bool { return p.Protocol == TCP || p.Cut }

// direct sends what comes to a port, as the packet names it, to its chain.
func (b builder) direct(p Port, c *nftables.Chain) {
	port := destinationPort(expr.CmpOpEq, p.Port)
	b.rule(b.base.input, p.Protocol.match(), port, destination(p.Address), goTo(c))
	// Without an address it may be somebody else's port.
	if p.Forward && p.Address.IsValid() {
		b.rule(b.base.forward, p.Protocol.match(), port, destination(p.Address), goTo(c))
	}
}

// published sends what DNAT leads away from a port to its chain.
func (b builder) published(p Port, c *nftables.Chain) {
	if !p.Forward {
		return
	}
	// It may lead back to this host.
	for _, from := range []*nftables.Chain{b.base.input, b.base.forward} {
		b.rule(from, p.Protocol.match(), direction(original), status(statusDNAT), aimed(original, p.Port, p.Address), goTo(c))
	}
}

// turned sends to a port's chain what would be a reply to the host that the
// port is published for, because the connection was forgotten and began anew
// with a packet of that host, which was given the port as its source again.
func (b builder) turned(p Port, c *nftables.Chain) {
	if p.Forward {
		b.rule(b.base.forward, p.Protocol.match(), direction(reply), status(statusSNAT), aimed(reply, p.Port, p.Address), goTo(c))
	}
}

// port makes the chain of a port. It has the last word about every packet.
func (b builder) port(p Port) *nftables.Chain {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name()})
	if !p.Cut {
		b.rule(c, direction(original), state(expr.CtStateBitESTABLISHED), accept)
	}
	for _, granted := range b.sets.isGranted(p) {
		b.rule(c, granted, accept)
	}
	b.rule(c, p.refuse())
	return c
}

// stealth makes the chain of UDP to ports that nobody guards.
func (b builder) stealth() *nftables.Chain {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: "stealth"})
	b.rule(c, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	b.rule(c, destinationPortIn(b.sets.except), accept)
	b.rule(c, drop)
	return c
}
