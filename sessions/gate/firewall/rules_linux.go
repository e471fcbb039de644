package firewall

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

// Priorities of the base chains.
const (
	// filterPriority runs before the filters of other programs, so that a flood
	// costs neither them nor their logs, and so that the order does not depend
	// on which table was made first. It runs after all translation of
	// destinations.
	filterPriority nftables.ChainPriority = -10
	// guardPriority runs after connection tracking (-200), and before all rules
	// that send a packet elsewhere: DNAT and redirect (-100), and rules of
	// other programs that change addresses or ports (-150).
	guardPriority nftables.ChainPriority = -190
	// postroutingPriority runs after the translation of sources (100).
	postroutingPriority nftables.ChainPriority = 110
)

// base are the base chains.
type base struct {
	prerouting, guard, input, forward, output, postrouting *nftables.Chain
	drawn, drawnLocal, late                                *nftables.Chain // nil: no drawn port requires it
}

func newBase() base {
	chain := func(name string, hook *nftables.ChainHook, p nftables.ChainPriority) *nftables.Chain {
		policy := nftables.ChainPolicyAccept
		return &nftables.Chain{
			Table: table, Name: name, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: &p, Policy: &policy,
		}
	}
	return base{
		prerouting:  chain("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw),
		guard:       chain("guard", nftables.ChainHookPrerouting, guardPriority),
		input:       chain("input", nftables.ChainHookInput, filterPriority),
		forward:     chain("forward", nftables.ChainHookForward, filterPriority),
		output:      chain("output", nftables.ChainHookOutput, *nftables.ChainPriorityRaw),
		postrouting: chain("postrouting", nftables.ChainHookPostrouting, postroutingPriority),
	}
}

func (b base) all() []*nftables.Chain {
	all := []*nftables.Chain{b.prerouting, b.guard, b.input, b.forward, b.output, b.postrouting, b.drawn, b.drawnLocal, b.late}
	return slices.DeleteFunc(all, func(c *nftables.Chain) bool { return c == nil })
}

// has reports whether a chain of a name is one of the base chains.
func (b base) has(name string) bool {
	return slices.ContainsFunc(b.all(), func(c *nftables.Chain) bool { return c.Name == name })
}

// abilities are features that not every kernel has.
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
	// unjoined: services do not jump to the operator's chains, and are closed.
	unjoined bool
}

func (b builder) rule(c *nftables.Chain, parts ...match) {
	b.batch.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: rule(parts...)})
}

// addRules requires the sets and base chains to be in the batch. The forward
// chain is only used if some port is guarded there.
func (b builder) addRules(cfg Config) {
	b.untrackKnocks(cfg)
	b.labelOutgoing(cfg)
	b.acceptKnocks(cfg)
	// Accept what this host sends to itself: strangers cannot send such
	// packets, and the host's programs need each other.
	b.rule(b.base.guard, loopback(), accept)
	b.refuseTranslatedHere(cfg)
	b.rule(b.base.input, loopback(), accept)

	b.addDrawn(cfg)
	chains := make([]*nftables.Chain, len(cfg.Ports))
	for i, p := range cfg.Ports {
		if p.listens() || p.proxied() {
			continue // the server itself listens, and no peer is trusted
		}
		b.trust(p, cfg.Trusted[p.Service])
		chains[i] = b.port(p, cfg)
	}
	if b.can.labels {
		b.answersToSYN(cfg)
	}
	for i, p := range cfg.Ports {
		if p.proxied() {
			b.proxied(p, cfg.Users)
		} else if p.filtersReplies() {
			b.toPort(p, chains[i])
			b.reverseNAT(p, chains[i])
		} else if b.can.labels {
			b.toPort(p, chains[i], labelled(labelStray))
		}
	}
	for _, c := range b.dispatchers(cfg) {
		b.rule(c, UDP.match(), direction(reply), accept)
	}
	for i, p := range cfg.Ports {
		if !p.filtersReplies() {
			b.toPort(p, chains[i])
		}
		if !p.proxied() {
			b.published(p, chains[i])
		}
	}
	if cfg.Stealth {
		b.rule(b.base.input, UDP.match(), destinationPort(expr.CmpOpGte, schedule.MinPort), goTo(b.stealth(cfg)))
	}
}

// dispatchers returns the chains that send packets to the chains of ports.
func (b builder) dispatchers(cfg Config) []*nftables.Chain {
	c := []*nftables.Chain{b.base.guard, b.base.input}
	if cfg.forwards() {
		c = append(c, b.base.forward)
	}
	return c
}

// untrackKnocks excludes knocks, captured packets and the answers to them from
// conntrack. Fragments are already reassembled: the kernel does so earlier
// wherever it tracks connections. Other packets are tracked even at a knock
// port: they may be replies to a masqueraded flow, or for a port that DNAT
// publishes, and must be translated.
func (b builder) untrackKnocks(cfg Config) {
	b.rule(b.base.prerouting, UDP.match(), destinationPortIn(b.sets.knock), likeKnock(), local(), notrack)
	if c := cfg.Captured; c != ([2]uint16{}) {
		b.rule(b.base.prerouting, UDP.match(), noPayload(), destinationPorts(access.Ports{First: c[0], Last: c[1]}), local(), notrack)
		b.rule(b.base.output, UDP.match(), marked(AnswerMark), notrack)
	}
}

// labelOutgoing labels the connections from guarded ports that began on this
// side.
func (b builder) labelOutgoing(cfg Config) {
	if !b.can.labels {
		return
	}
	for _, p := range cfg.Ports {
		if p.Protocol == TCP {
			for _, a := range append(p.All(), p.listenerAt()...) {
				b.rule(b.base.postrouting, TCP.match(), sourcePorts(a.Ports), bareSYN(), setLabel(labelBegun))
			}
		}
	}
	b.rule(b.base.postrouting,
		UDP.match(), sourcePortIn(b.sets.settling), state(expr.CtStateBitNEW), setLabel(labelStray))
	for _, p := range cfg.Ports {
		settling, ok := b.sets.named[p.settlingSet()]
		if p.single() || !ok {
			continue
		}
		for _, a := range p.All() {
			b.rule(b.base.postrouting, UDP.match(), sourcePorts(a.Ports),
				familyIn(settling), state(expr.CtStateBitNEW), setLabel(labelStray))
		}
	}
}

// acceptKnocks accepts knocks, before all other rules.
func (b builder) acceptKnocks(cfg Config) {
	knock := rule(UDP.match(), destinationPortIn(b.sets.knock), likeKnock())
	if !cfg.Stealth {
		b.rule(b.base.input, knock, accept)
		return
	}
	// Require a socket: without one, the kernel would answer. It would also answer some
	// extension headers, which it reads after this chain.
	for _, plain := range []match{family(unix.NFPROTO_IPV4), withoutExtensions()} {
		b.rule(b.base.input, knock, plain, hasSocket(true), accept)
		b.rule(b.base.input, knock, plain, hasSocket(false), accept)
	}
}

// answersToSYN accepts replies to a SYN of this host. It does not accept a SYN
// without ACK: otherwise the remote host could open, from the same ports, a
// connection to the program that listens there now.
func (b builder) answersToSYN(cfg Config) {
	for _, c := range b.dispatchers(cfg) {
		b.rule(c, TCP.match(), notBareSYN(), direction(reply), labelled(labelBegun), accept)
	}
}

// notBareSYN matches segments that do not request a new connection.
func notBareSYN() match { return flags(flagSYN|flagACK, expr.CmpOpNeq, flagSYN) }

// filtersEarly reports whether packets to a port are filtered before
// translation.
func (b builder) filtersEarly(p Port, a At) bool {
	beforeTranslation := p.Hook == HookPrerouting || p.Hook == HookForward && a.Address.IsValid()
	return beforeTranslation && (b.can.earlyReject || !p.Reject)
}

// toPort sends packets to a port, as they arrive, to its chain.
func (b builder) toPort(p Port, c *nftables.Chain, only ...match) {
	for _, a := range p.All() {
		b.toPortAt(p, a, c, only)
	}
}

func (b builder) toPortAt(p Port, a At, c *nftables.Chain, only []match) {
	to := func(from *nftables.Chain, which match) {
		parts := []match{p.Protocol.match(), destinationPorts(a.Ports), which}
		b.rule(from, append(append(parts, only...), goTo(c))...)
	}
	which := destination(a.Address)
	if b.filtersEarly(p, a) {
		if a.Address.IsValid() {
			to(b.base.guard, which)
		} else {
			to(b.base.guard, toHost())
		}
	}
	to(b.base.input, which)
	// Without an address it may be a port of another host.
	if p.Hook != HookInput && a.Address.IsValid() {
		to(b.base.forward, which)
	}
}

// published sends packets that DNAT has redirected from a port to its chain.
// For a port with an address, the guard chain has done so before: nft cannot
// print the address that a client asked for. (An old kernel that cannot reject
// in the guard chain guards the port at all addresses.)
func (b builder) published(p Port, c *nftables.Chain) {
	for _, a := range p.translated(b) {
		// DNAT may send the packet to this host.
		for _, from := range []*nftables.Chain{b.base.input, b.base.forward} {
			b.rule(from,
				p.Protocol.match(), direction(original), status(statusDNAT), ctDestination(original, a.Ports), goTo(c))
		}
	}
}

// translated returns the ports whose packets the table filters after translation.
func (p Port) translated(b builder) []At {
	if p.Hook == HookInput {
		return nil
	}
	return slices.DeleteFunc(p.All(), func(a At) bool { return a.Address.IsValid() && b.filtersEarly(p, a) })
}

// reverseNAT sends to a port's chain packets that conntrack takes for replies
// to the host for which the port is published: it had forgotten the connection,
// and tracked it again from a packet of that host, to which it assigned the
// port as source again.
func (b builder) reverseNAT(p Port, c *nftables.Chain) {
	for _, a := range p.translated(b) {
		b.rule(b.base.forward,
			p.Protocol.match(), direction(reply), status(statusSNAT), ctDestination(reply, a.Ports), goTo(c))
	}
}

// port makes the chain of a port. The chain decides on every packet that
// reaches it.
func (b builder) port(p Port, cfg Config) *nftables.Chain {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name()})
	var granted match
	if !p.Cut {
		lives := state(expr.CtStateBitESTABLISHED)
		if b.can.labels {
			granted = setLabel(labelGranted)
			lives = append(lives, labelled(labelGranted)...)
		} else {
			lives = append(direction(original), lives...)
		}
		if p.Protocol == TCP {
			// Conntrack keeps the entry of a connection that was reset from
			// behind the port for a while, and assigns a SYN of the same ports
			// to it.
			lives = append(notBareSYN(), lives...)
		}
		b.rule(c, lives, accept)
	}
	if cfg.onTrial(p) {
		b.acceptEarlier(c, p)
	}
	if len(cfg.Trial) > 0 {
		b.labelEntering(c, p)
	}
	letIn := b.letIn(p, granted)
	for _, is := range p.sets().isGranted() {
		b.rule(c, is, letIn)
	}
	b.rule(c, jump(p.trustChain()))
	if cfg.onTrial(p) {
		b.acceptLater(c, p.trialSet())
	}
	b.rule(c, p.refuse())
	return c
}

// stealth makes the chain for UDP to unguarded ports.
func (b builder) stealth(cfg Config) *nftables.Chain {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: stealthChain})
	if cfg.stealthOnTrial() {
		b.acceptLater(c, stealthTrialSet)
	}
	b.rule(c, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	b.rule(c, UDP.match(), destinationPortIn(b.sets.except), accept)
	b.rule(c, drop)
	return c
}
