package nftcheck

// maxDepth is how deep chains may jump; the kernel allows 16. The time is checked
// once in stepsPerTimeCheck steps.
const (
	maxDepth          = 16
	stepsPerTimeCheck = 1 << 10
)

// redirect is a rule that redirects packets, or changes their source address.
type redirect struct {
	chain     *chain // of the rule
	handle    uint64
	text      string
	to        target
	source    string
	low, high int   // the ports that are redirected
	m         match // how surely: always, some or less
	priority  int32 // of the base chain
	hook      uint32
	ingress   bool
}

// drop is a rule, or the policy of a chain, that drops packets.
type drop struct {
	rule   string // names the rule; empty: it is the policy
	in     *chain // of the rule
	ports  ports
	sure   bool   // it drops every packet to the ports
	except string // names a rule before it that may accept some of them
}

// walk follows packets through base chains.
type walk struct {
	*ruleset
	packet
	// typical: a rule that accepts packets of all sources except some accepts them.
	typical   bool
	redirects []redirect
	drops     []drop
	dropped   ports // surely
	redirected,
	doubt ports // to these a rule may have accepted or redirected packets
	doubtful string // names the rule
	base     *chain
}

// enter goes through a base chain with packets to some ports. It returns the
// ports to which packets may go on to the next chain.
func (w *walk) enter(c *chain, to ports) (rest ports) {
	p, ok := w.packet.seenBy(c.family)
	if !ok || len(to) == 0 {
		return to
	}
	w.base, w.dropped, w.redirected, w.doubt, w.doubtful = c, nil, nil, nil, ""
	if out := w.follow(c, p, to, always, 0); c.drops && len(out) > 0 {
		w.drop(drop{in: c, ports: out}, always)
	}
	return to.without(w.dropped.or(w.redirected))
}

// follow goes through a chain's rules in their order. Reached is how surely the
// packets reach this chain. It returns the ports to which packets come to the end
// of the chain, or return from it.
func (w *walk) follow(c *chain, p packet, to ports, reached match, depth int) (out ports) {
	if c == nil || depth > maxDepth {
		return to
	}
	flow := to
	for i := 0; i < len(c.rules) && len(flow) > 0; i++ {
		if w.steps++; w.steps%stepsPerTimeCheck == 0 && w.expired != nil && w.expired() {
			w.steps-- // the next step checks again
			w.cannotRead("it has too many rules and jumps to follow all of them")
			return out.or(flow)
		}
		if c.rules[i].broken {
			w.cannotReadRule(c, i, "an expression is truncated")
			w.mayAccept(flow, c.nameRule(i, ""))
			continue
		}
		w.evaluate(c, i, state{registers: registers{port: -1}, to: p, ports: flow}, func(s state, f effect) {
			// An earlier effect of the same rule may have settled some ports.
			if s.ports = s.ports.and(flow); len(s.ports) > 0 {
				settled, left := w.apply(c, i, p, s, f, reached, depth)
				flow, out = flow.without(settled), out.or(left)
			}
		})
	}
	return out.or(flow)
}

// apply applies a rule's effect to packets. The chain ends here for packets to the
// settled ports; those to the ports that are left return from it.
func (w *walk) apply(c *chain, number int, p packet, s state, f effect, reached match, depth int) (settled, left ports) {
	how := max(s.m, reached)
	all := s.m == always
	settles := func() ports {
		if all {
			return s.ports
		}
		return nil
	}
	if f.target != nil || f.source != "" {
		w.redirect(c, number, s, f, how)
		switch {
		case f.passes:
			return nil, nil
		case how == always:
			w.redirected = w.redirected.or(s.ports)
		default:
			w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
		}
		return settles(), nil
	}
	switch v := f.verdict; v.code {
	case verdictAccept:
		all = all || w.typical && s.m == mostly
		if how != always && !(w.typical && how == mostly) {
			w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
		}
		return settles(), nil
	case verdictDrop:
		w.drop(drop{rule: c.nameRule(number, s.written(f)), in: c, ports: s.ports}, how)
		return settles(), nil
	case verdictQueue:
		w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
	case verdictJump, verdictGoto:
		rest := w.follow(w.find(c, v.chain), p, s.ports, how, depth+1)
		switch {
		case v.code == verdictJump && all:
			return s.ports.without(rest), nil
		case all:
			return s.ports, rest
		case v.code == verdictGoto:
			w.mayAccept(rest, c.nameRule(number, s.written(f)))
		}
	case verdictReturn:
		if all {
			return s.ports, s.ports
		}
		if depth > 0 {
			w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
		}
	}
	return nil, nil
}

// redirect records a rule that redirects packets.
func (w *walk) redirect(c *chain, number int, s state, f effect, how match) {
	if how == always && s.ports.size() < w.packet.ports().size() {
		how = some
	}
	l := redirect{chain: c, handle: c.rules[number].handle, text: s.written(f), source: f.source, low: s.ports.low(), high: s.ports.high(),
		m: how, priority: w.base.priority, hook: w.base.hook, ingress: w.base.ingress()}
	if f.target != nil {
		l.to = *f.target
	}
	w.redirects = append(w.redirects, l)
}

// mayAccept records a rule that may accept packets.
func (w *walk) mayAccept(to ports, rule string) {
	if w.doubt = w.doubt.or(to); w.doubtful == "" {
		w.doubtful = rule
	}
}

// drop records what drops packets. A rule for some sources only is meant to drop
// those, and is not recorded.
func (w *walk) drop(d drop, how match) {
	clean := d.ports.without(w.doubt)
	switch {
	case how == rarely:
		return
	case how != always:
		w.drops = append(w.drops, d)
		return
	case len(clean) > 0:
		w.dropped = w.dropped.or(clean)
		w.drops = append(w.drops, drop{rule: d.rule, in: d.in, ports: clean, sure: true})
	}
	if d.ports = d.ports.and(w.doubt); len(d.ports) > 0 {
		d.except = w.doubtful
		w.drops = append(w.drops, d)
	}
}
