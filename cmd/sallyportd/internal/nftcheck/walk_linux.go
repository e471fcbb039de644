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
	out := w.follow(c, p, leaving{sure: to}, always, 0)
	if c.drops {
		w.drop(drop{in: c, ports: out.sure}, always)
		w.drop(drop{in: c, ports: out.maybe.without(out.sure)}, maybe)
	}
	return to.without(w.dropped.or(w.redirected))
}

// leaving are ports to which packets leave a rule or a chain: surely, or maybe.
type leaving struct{ sure, maybe ports }

func (l leaving) or(m leaving) leaving { return leaving{l.sure.or(m.sure), l.maybe.or(m.maybe)} }

// follow goes through a chain's rules in their order. Reached is how surely the
// packets reach this chain. It returns the ports to which packets come to the end
// of the chain, or return from it.
func (w *walk) follow(c *chain, p packet, flow leaving, reached match, depth int) (out leaving) {
	if c == nil || depth > maxDepth {
		return flow
	}
	for i := 0; i < len(c.rules) && len(flow.sure)+len(flow.maybe) > 0; i++ {
		if w.steps++; w.steps%stepsPerTimeCheck == 0 && w.expired != nil && w.expired() {
			w.steps-- // the next step checks again
			w.cannotRead("it has too many rules and jumps to follow all of them")
			return out.or(flow)
		}
		if c.rules[i].broken {
			w.cannotReadRule(c, i, "an expression is truncated")
			w.mayAccept(flow.sure.or(flow.maybe), c.nameRule(i, ""))
			continue
		}
		sure, left := w.rule(c, i, p, flow.sure, reached, depth)
		out = out.or(left)
		ghosts, left := w.rule(c, i, p, flow.maybe, max(reached, maybe), depth)
		out.maybe = out.maybe.or(left.sure).or(left.maybe)
		flow = leaving{sure.sure, sure.maybe.or(ghosts.sure).or(ghosts.maybe)}
	}
	return out.or(flow)
}

// rule applies one rule to packets to some ports. It returns the ports of the
// packets that go on to the next rule, and of those that return from the chain.
func (w *walk) rule(c *chain, number int, p packet, to ports, reached match, depth int) (on, out leaving) {
	on.sure = to
	if len(to) == 0 {
		return on, out
	}
	w.evaluate(c, number, state{registers: registers{port: -1}, to: p, ports: to}, func(s state, f effect) {
		// An earlier effect of the same rule may have settled some ports.
		if s.ports = s.ports.and(on.sure); len(s.ports) > 0 {
			settled, after, left := w.apply(c, number, p, s, f, reached, depth)
			on.sure, on.maybe, out = on.sure.without(settled), on.maybe.or(after), out.or(left)
		}
	})
	return on, out
}

// apply applies a rule's effect to packets. The chain ends here for packets to the
// settled ports, except that those to the ports after it may go on. Left are the
// ports to which packets return from the chain.
func (w *walk) apply(c *chain, number int, p packet, s state, f effect, reached match, depth int) (settled, after ports, left leaving) {
	how := max(s.m, reached)
	typical := w.typical && s.m == mostly
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
			return nil, nil, left
		case how == always:
			w.redirected = w.redirected.or(s.ports)
		default:
			w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
		}
		return settles(), nil, left
	}
	switch v := f.verdict; v.code {
	case verdictAccept:
		all = all || typical
		if how != always && !(w.typical && how == mostly) {
			w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
		}
		return settles(), nil, left
	case verdictDrop:
		w.drop(drop{rule: c.nameRule(number, s.written(f)), in: c, ports: s.ports}, how)
		return settles(), nil, left
	case verdictQueue:
		w.mayAccept(s.ports, c.nameRule(number, s.written(f)))
	case verdictJump, verdictGoto:
		all = all || typical
		rest := w.follow(w.find(c, v.chain), p, leaving{sure: s.ports}, how, depth+1)
		switch {
		case v.code == verdictJump && all:
			return s.ports.without(rest.sure), rest.maybe.without(rest.sure), left
		case all:
			return s.ports, nil, rest
		case v.code == verdictGoto && !(w.typical && s.m == rarely):
			left.maybe = rest.sure.or(rest.maybe)
			w.mayLeave(left.maybe, c.nameRule(number, s.written(f)), depth)
		}
	case verdictReturn:
		if all || typical {
			return s.ports, nil, leaving{sure: s.ports}
		}
		if !(w.typical && s.m == rarely) {
			left.maybe = s.ports
			w.mayLeave(left.maybe, c.nameRule(number, s.written(f)), depth)
		}
	}
	return nil, nil, left
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

// mayLeave records a rule by which packets may leave a chain, so that its later
// rules do not drop them.
func (w *walk) mayLeave(to ports, rule string, depth int) {
	if depth > 0 || !w.base.drops {
		w.mayAccept(to, rule)
	}
}

// drop records what drops packets. A rule for some sources only is meant to drop
// those, and is not recorded.
func (w *walk) drop(d drop, how match) {
	clean := d.ports.without(w.doubt)
	switch {
	case how == rarely || len(d.ports) == 0:
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
