package nftcheck

// outcome is what becomes of packets in a chain.
type outcome int

const (
	undecided outcome = iota // they leave it as they came
	accepted
	dropped
	someDropped // those to some ports are dropped
	led         // elsewhere
)

// maxDepth is how deep chains may jump; the kernel allows 16. The clock is
// looked at once in so many steps.
const (
	maxDepth       = 16
	stepsPerGlance = 1 << 10
)

// lead is a rule that leads packets elsewhere, or gives them another source.
type lead struct {
	chain     *chain // of the rule
	handle    uint64
	text      string
	to        target
	source    string
	low, high int   // the ports that are led
	m         match // whether they are: always, some or maybe
	priority  int32 // of the chain that the packet came to by itself
	hook      uint32
	ingress   bool
}

// walk is the way of packets through chains.
type walk struct {
	*ruleset
	packet
	maybeAccepted bool // a rule that is not understood may have accepted them
	leads         []lead
	base          *chain
}

// enter goes through a chain that packets come to by themselves.
func (w *walk) enter(c *chain) outcome {
	p, ok := w.packet.in(c.family)
	if !ok {
		return undecided
	}
	w.base = c
	return w.follow(c, p, always, 0)
}

// follow goes through a chain's rules in their order, with packets of which
// it is known, or not, that they come here.
func (w *walk) follow(c *chain, p packet, come match, depth int) outcome {
	if c == nil || depth > maxDepth {
		return undecided
	}
	for i := range c.rules {
		if w.steps++; w.steps%stepsPerGlance == 0 && w.late != nil && w.late() {
			w.steps-- // the next step looks again
			w.cannotRead("it has too many rules and jumps to follow all of them")
			return undecided
		}
		if c.rules[i].broken {
			w.cannotReadRule(c, i, "an expression is cut off")
			w.maybeAccepted = true
			continue
		}
		done, result := false, undecided
		w.evaluate(c, i, state{registers: registers{port: -1}, to: p, low: p.low, high: p.high}, func(s state, f effect) {
			if done {
				return
			}
			done, result = w.apply(c, c.rules[i].handle, p, s, f, come, depth)
		})
		if done {
			return result
		}
	}
	return undecided
}

// apply does to packets what a rule does. Done is true if the chain ends here
// for all of them.
func (w *walk) apply(c *chain, handle uint64, p packet, s state, f effect, come match, depth int) (done bool, result outcome) {
	result = undecided
	switch {
	case f.target != nil || f.source != "":
		l := lead{chain: c, handle: handle, text: s.written(f), source: f.source, low: s.low, high: s.high,
			m: max(s.m, come), priority: w.base.priority, hook: w.base.hook, ingress: w.base.ingress()}
		if f.target != nil {
			l.to = *f.target
		}
		w.leads = append(w.leads, l)
		if f.passes {
			return false, undecided
		}
		result = led
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
			result = w.follow(w.find(c, v.chain), inner, max(s.m, come), depth+1)
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
