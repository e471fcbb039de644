package nftcheck

// outcome is the result of a chain for packets.
type outcome int

const (
	undecided outcome = iota // the packets pass on unchanged
	accepted
	dropped
	someDropped // packets to some ports are dropped
	redirected  // to another port or host
)

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
	m         match // how surely: always, some or maybe
	priority  int32 // of the base chain
	hook      uint32
	ingress   bool
}

// walk follows packets through chains.
type walk struct {
	*ruleset
	packet
	maybeAccepted bool // a rule that is not fully understood may have accepted them
	redirects     []redirect
	base          *chain
}

// enter goes through a base chain.
func (w *walk) enter(c *chain) outcome {
	p, ok := w.packet.in(c.family)
	if !ok {
		return undecided
	}
	w.base = c
	return w.follow(c, p, always, 0)
}

// follow goes through a chain's rules in their order. Reached is how surely the
// packets reach this chain.
func (w *walk) follow(c *chain, p packet, reached match, depth int) outcome {
	if c == nil || depth > maxDepth {
		return undecided
	}
	for i := range c.rules {
		if w.steps++; w.steps%stepsPerTimeCheck == 0 && w.expired != nil && w.expired() {
			w.steps-- // the next step checks again
			w.cannotRead("it has too many rules and jumps to follow all of them")
			return undecided
		}
		if c.rules[i].broken {
			w.cannotReadRule(c, i, "an expression is truncated")
			w.maybeAccepted = true
			continue
		}
		done, result := false, undecided
		w.evaluate(c, i, state{registers: registers{port: -1}, to: p, low: p.low, high: p.high}, func(s state, f effect) {
			if done {
				return
			}
			done, result = w.apply(c, c.rules[i].handle, p, s, f, reached, depth)
		})
		if done {
			return result
		}
	}
	return undecided
}

// apply applies a rule's effect to packets. Done is true if the chain ends here
// for all of them.
func (w *walk) apply(c *chain, handle uint64, p packet, s state, f effect, reached match, depth int) (done bool, result outcome) {
	result = undecided
	switch {
	case f.target != nil || f.source != "":
		l := redirect{chain: c, handle: handle, text: s.written(f), source: f.source, low: s.low, high: s.high,
			m: max(s.m, reached), priority: w.base.priority, hook: w.base.hook, ingress: w.base.ingress()}
		if f.target != nil {
			l.to = *f.target
		}
		w.redirects = append(w.redirects, l)
		if f.passes {
			return false, undecided
		}
		result = redirected
	case f.verdict != nil:
		switch v := f.verdict; v.code {
		case verdictAccept:
			result = accepted
		case verdictDrop:
			result = dropped
		case verdictQueue:
			w.maybeAccepted = true
		case verdictJump, verdictGoto:
			inner := p
			inner.low, inner.high = s.low, s.high
			result = w.follow(w.find(c, v.chain), inner, max(s.m, reached), depth+1)
			if result == undecided && v.code == verdictGoto && s.m == always {
				return true, undecided
			}
		case verdictReturn:
			return s.m == always, undecided
		}
	}
	switch {
	case result == undecided:
	case s.m == maybe:
		w.maybeAccepted = w.maybeAccepted || result == accepted
	case result == someDropped, s.m == some && result == dropped:
		return true, someDropped
	case s.m == always:
		return true, result
	}
	return false, undecided
}
