package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"sallyport/verify/schedule"
)

// Priorities of the base chains.
const (
	// priority is before the filters of others, so that a flood costs them
	// nothing, nor their logs, and the order does not hang on who came first. It
	// is after all translation of destinations.
	priority nftables.ChainPriority = -10
	// early is after the tracking of connections (-200), and before everything
	// that leads a packet elsewhere: DNAT and redirect (-100), and rules of
	// others that change addresses or ports (-150).
	early nftables.ChainPriority = -190
	// late is after the translation of sources (100).
	late nftables.ChainPriority = 110
)

// base are the chains that packets come to by themselves.
type base struct{ prerouting, guard, input, forward, output, postrouting *nftables.Chain }

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
		chain("guard", nftables.ChainHookPrerouting, early),
		chain("input", nftables.ChainHookInput, priority),
		chain("forward", nftables.ChainHookForward, priority),
		chain("output", nftables.ChainHookOutput, *nftables.ChainPriorityRaw),
		chain("postrouting", nftables.ChainHookPostrouting, late),
	}
}

func (b base) all() []*nftables.Chain {
	return []*nftables.Chain{b.prerouting, b.guard, b.input, b.forward, b.output, b.postrouting}
}

// abilities are what kernels differ in.
type abilities struct {
	labels      bool // of connections: CONFIG_NF_CONNTRACK_LABELS
	earlyReject bool // before routing: Linux 5.9
}

// builder adds the rules of a configuration to a batch.
type builder struct {
	batch *nftables.Conn
	base  base
	sets  sets
	can   abilities
}

func (b builder) rule(c *nftables.Chain, parts ...match) {
	b.batch.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: rule(parts...)})
}

// build expects the sets and base chains to be in the batch. The forward chain
// is only needed if some port is to be guarded there.
func (b builder) build(cfg Config) {
	b.untracked(cfg)
	b.begun(cfg)
	b.knocks(cfg)
	// What this host sends to itself: strangers cannot, and its own programs
	// need each other.
	b.rule(b.base.guard, loopback(), accept)
	b.rule(b.base.input, loopback(), accept)

	chains := make([]*nftables.Chain, len(cfg.Ports))
	for i, p := range cfg.Ports {
		chains[i] = b.port(p)
	}
	if b.can.labels {
		b.answersToSYN(cfg)
	}
	for i, p := range cfg.Ports {
		if p.judgesReplies() {
			b.direct(p, chains[i])
			b.turned(p, chains[i])
		} else if b.can.labels {
			b.direct(p, chains[i], labelled(labelStray))
		}
	}
	for _, c := range b.judging(cfg) {
		b.rule(c, UDP.match(), direction(reply), accept)
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

// judging are the chains that send packets to the chains of ports.
func (b builder) judging(cfg Config) []*nftables.Chain {
	c := []*nftables.Chain{b.base.guard, b.base.input}
	if cfg.forwards() {
		c = append(c, b.base.forward)
	}
	return c
}

// untracked keeps knocks, captured packets and the answers to them out of the
// table of connections. Fragments have been put together by now: that is done
// before, wherever connections are tracked. What does not look like a knock is
// tracked even at a knock port: it may be the reply to a masqueraded flow,
// or for a port that DNAT publishes, and has to be translated.
func (b builder) untracked(cfg Config) {
	b.rule(b.base.prerouting, UDP.match(), destinationPortIn(b.sets.knock), likeKnock(), local(), notrack)
	if c := cfg.Captured; c != ([2]uint16{}) {
		b.rule(b.base.prerouting, UDP.match(), empty(), destinationPorts(c[0], c[1]), local(), notrack)
		b.rule(b.base.output, UDP.match(), marked(AnswerMark), notrack)
	}
}

// begun takes down which connections from guarded ports began on this side.
func (b builder) begun(cfg Config) {
	if !b.can.labels {
		return
	}
	for _, p := range cfg.Ports {
		if p.Protocol == TCP {
			b.rule(b.base.postrouting, TCP.match(), sourcePort(p.Port), flags(flagFIN|flagSYN|flagRST|flagACK, expr.CmpOpEq, flagSYN), put(labelBegun))
		}
	}
	b.rule(b.base.postrouting, UDP.match(), sourcePortIn(b.sets.settling), state(expr.CtStateBitNEW), put(labelStray))
}

// knocks lets those through, before everything else.
func (b builder) knocks(cfg Config) {
	knock := rule(UDP.match(), destinationPortIn(b.sets.knock), likeKnock())
	if !cfg.Stealth {
		b.rule(b.base.input, knock, accept)
		return
	}
	// Where nobody listens any more, the kernel would answer.
	b.rule(b.base.input, knock, heard(true), accept)
	b.rule(b.base.input, knock, heard(false), accept)
}

// answersToSYN lets in what comes back to a SYN of this host. A SYN
// without ACK does not: whoever was asked could otherwise open, by the same
// ports, a connection to what listens there now.
func (b builder) answersToSYN(cfg Config) {
	for _, c := range b.judging(cfg) {
		b.rule(c, TCP.match(), noBareSYN(), direction(reply), labelled(labelBegun), accept)
	}
}

// noBareSYN matches what does not ask for a new connection.
func noBareSYN() match { return flags(flagSYN|flagACK, expr.CmpOpNeq, flagSYN) }

// early reports whether a port is judged before translation.
func (b builder) early(p Port) bool {
	return (p.Hook == HookPrerouting || p.Hook == HookForward && p.Address.IsValid()) && (b.can.earlyReject || !p.Reject)
}

// direct sends what comes to a port, as the packet names it, to its chain.
func (b builder) direct(p Port, c *nftables.Chain, only ...match) {
	to := func(from *nftables.Chain, which match) {
		b.rule(from, append(append([]match{p.Protocol.match(), destinationPort(expr.CmpOpEq, p.Port), which}, only...), goTo(c))...)
	}
	which := destination(p.Address)
	if b.early(p) {
		if p.Address.IsValid() {
			to(b.base.guard, which)
		} else {
			to(b.base.guard, toHost())
		}
	}
	to(b.base.input, which)
	// Without an address it may be somebody else's port.
	if p.Hook != HookInput && p.Address.IsValid() {
		to(b.base.forward, which)
	}
}

// published sends what DNAT has led away from a port to its chain. With an
// address, that is done before: nft cannot print the address that a client asked
// for (an old kernel that cannot refuse there guards the port at all addresses).
func (b builder) published(p Port, c *nftables.Chain) {
	if p.Hook == HookInput || p.Address.IsValid() && b.early(p) {
		return
	}
	// It may lead back to this host.
	for _, from := range []*nftables.Chain{b.base.input, b.base.forward} {
		b.rule(from, p.Protocol.match(), direction(original), status(statusDNAT), aimed(original, p.Port), goTo(c))
	}
}

// turned sends to a port's chain what would be a reply to the host that the
// port is published for, because the connection was forgotten and began anew
// with a packet of that host, which was given the port as its source again.
func (b builder) turned(p Port, c *nftables.Chain) {
	if p.Hook == HookInput || p.Address.IsValid() && b.early(p) {
		return
	}
	b.rule(b.base.forward, p.Protocol.match(), direction(reply), status(statusSNAT), aimed(reply, p.Port), goTo(c))
}

// port makes the chain of a port. It has the last word about every packet.
func (b builder) port(p Port) *nftables.Chain {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name()})
	var granted match
	if !p.Cut {
		lives := state(expr.CtStateBitESTABLISHED)
		if b.can.labels {
			granted = put(labelGranted)
			lives = append(lives, labelled(labelGranted)...)
		} else {
			lives = append(direction(original), lives...)
		}
		if p.Protocol == TCP {
			// The entry of a connection that was reset from behind the port
			// stays for a while, and a SYN by the same ports counts to it.
			lives = append(noBareSYN(), lives...)
		}
		b.rule(c, lives, accept)
	}
	for _, is := range p.sets().isGranted() {
		b.rule(c, is, granted, accept)
	}
	b.rule(c, p.refuse())
	return c
}

// stealth makes the chain of UDP to ports that nobody guards.
func (b builder) stealth() *nftables.Chain {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: "stealth"})
	b.rule(c, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	b.rule(c, UDP.match(), destinationPortIn(b.sets.except), accept)
	b.rule(c, drop)
	return c
}
