package nftcheck

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// translations are the chains that may lead a packet elsewhere at a hook, in
// the order in which it comes to them. Filters may do so too: by tproxy, or by
// changing headers.
func (r *ruleset) translations(hook uint32) (list []*chain) {
	for _, c := range r.chains {
		here := c.base && c.hook == hook && c.routed() || c.ingress() && hook == atPrerouting
		if here && !c.ours() && (c.kind == "nat" || c.kind == "filter") {
			list = append(list, c)
		}
	}
	// The kernel has all translation of destinations in one place, and orders
	// its chains there.
	slices.SortStableFunc(list, func(a, b *chain) int { return a.place() - b.place() })
	return list
}

// place is where packets come to a chain, in the order of one hook.
func (c *chain) place() int {
	const step = 1 << 33 // more than priorities differ
	switch {
	case c.ingress():
		return int(c.priority) - step
	case c.kind == "nat":
		return step + int(c.priority)
	case c.priority > priorityOfTranslation:
		return 2*step + int(c.priority)
	}
	return int(c.priority)
}

// leadsOf returns the rules that lead packets elsewhere, or give them another
// source, at a hook. It ends where they are all dropped or led.
func (r *ruleset) leadsOf(p packet, hook uint32) []lead {
	asked := question{p, hook}
	if leads, ok := r.known[asked]; ok {
		return leads
	}
	w := walk{ruleset: r, packet: p}
	for _, c := range r.translations(hook) {
		result := w.enter(c)
		if result == led || result == dropped && !w.maybeAccepted || result == undecided && c.drops && !w.maybeAccepted {
			break
		}
		w.maybeAccepted = false
	}
	r.known[asked] = w.leads
	return w.leads
}

// question is what leadsOf is asked: services may ask the same.
type question struct {
	packet
	hook uint32
}

// stopped reports whether a chain drops all packets that come to a hook.
func (r *ruleset) stopped(p packet, hooks ...uint32) bool {
	for _, c := range r.chains {
		if !c.filters() || c.ours() || !slices.Contains(hooks, c.hook) {
			continue
		}
		w := walk{ruleset: r, packet: p}
		if result := w.enter(c); !w.maybeAccepted && (result == dropped || result == undecided && c.drops) {
			return true
		}
	}
	return false
}

// String names the rule, with its text.
func (l lead) String() string {
	return fmt.Sprintf("the rule \"%s\" of chain \"%s\" (handle %d)", l.text, l.chain.name, l.handle)
}

// leads is the verb for what the rule does.
func (l lead) leads() string {
	if l.m == maybe {
		return "may lead"
	}
	return "leads"
}

// where is where packets to a port end up; 0: to several.
func (l lead) where(port int) string {
	t := l.to
	t.how = ""
	if t.port == 0 && !t.unclear {
		t.port = port
	}
	if !t.address.IsValid() && !t.other {
		if t.unclear {
			return "another port of this host"
		}
		if t.port == 0 {
			return "another address of this host"
		}
		return fmt.Sprintf("port %d of this host", t.port)
	}
	if t.other {
		return "an address that is not known"
	}
	return t.String()[1:]
}

// port is where packets to a port come in the end; 0: not known.
func (l lead) port(port int) int {
	switch {
	case l.to.unclear:
		return 0
	case l.to.port != 0:
		return l.to.port
	}
	return port
}

// stays reports whether packets stay on this host.
func (l lead) stays(a addresses) bool {
	return !l.to.other && (!l.to.address.IsValid() || a.has(l.to.address))
}

// next is the packet of somebody who asks at once for where a rule leads to.
func (l lead) next(p packet, a addresses) packet {
	p.address, p.local = l.to.address, l.stays(a)
	p.elsewhere = !p.local
	if p.address.IsValid() {
		p.family = familyOf(p.address)
	}
	p.low, p.high = l.port(p.low), l.port(p.high)
	if p.low == 0 {
		p.low, p.high, p.somewhere = 1, 1<<16-1, true
	}
	return p
}

// translatedTo is the packet that the rule has led elsewhere.
func (l lead) translatedTo(p packet, a addresses) packet {
	p = l.next(p, a)
	p.stranger = false // it is: but translated, which rules may ask for
	return p
}

const (
	atPrerouting = unix.NF_INET_PRE_ROUTING
	atInput      = unix.NF_INET_LOCAL_IN
	atForward    = unix.NF_INET_FORWARD
)
