package nftcheck

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// translations are the chains that may redirect a packet at a hook, in the order
// in which it reaches them. Filter chains may redirect too: by tproxy, or by
// changing headers.
func (r *ruleset) translations(hook uint32) (list []*chain) {
	for _, c := range r.chains {
		here := c.base && c.hook == hook && c.routed() || c.ingress() && hook == atPrerouting
		if here && !c.ours() && (c.kind == "nat" || c.kind == "filter") {
			list = append(list, c)
		}
	}
	// The kernel translates all destinations at one priority, and orders the nat
	// chains among themselves.
	slices.SortStableFunc(list, func(a, b *chain) int { return a.place() - b.place() })
	return list
}

// place is the position of a chain in the order of one hook.
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

// redirectsOf returns the rules that redirect packets, or change their source
// address, at a hook. It ends where all of them are dropped or redirected.
func (r *ruleset) redirectsOf(p packet, hook uint32) []redirect {
	asked := question{p, hook}
	if redirects, ok := r.known[asked]; ok {
		return redirects
	}
	w := walk{ruleset: r, packet: p}
	to := p.ports()
	for _, c := range r.translations(hook) {
		to = w.enter(c, to)
	}
	r.known[asked] = w.redirects
	return w.redirects
}

// question is an argument of redirectsOf: several services may have the same.
type question struct {
	packet
	hook uint32
}

// dropsAll reports whether one of the chains at some hooks drops all packets.
func (r *ruleset) dropsAll(p packet, hooks ...uint32) bool {
	for _, c := range r.chains {
		if !c.filters() || c.ours() || !slices.Contains(hooks, c.hook) {
			continue
		}
		w := walk{ruleset: r, packet: p}
		if w.enter(c, p.ports()); len(p.ports().without(w.dropped)) == 0 {
			return true
		}
	}
	return false
}

// String returns the rule's text, chain and handle.
func (l redirect) String() string {
	label := "handle"
	if l.chain.legacy {
		label = "number"
	}
	return fmt.Sprintf("the rule \"%s\" of chain \"%s\" (%s %d)", l.text, l.chain.name, label, l.handle)
}

// verb is what the rule does to packets.
func (l redirect) verb() string {
	if l.m >= mostly {
		return "may redirect"
	}
	return "redirects"
}

// where describes the target of packets to a port; 0: to several ports.
func (l redirect) where(port int) string {
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
		if t.last > t.port {
			return fmt.Sprintf("ports %s of this host", t.numbers())
		}
		return fmt.Sprintf("port %d of this host", t.port)
	}
	if t.other {
		return "an unknown address"
	}
	return t.String()[1:]
}

// port is the port to which packets to a port are redirected; 0: not known.
func (l redirect) port(port int) int {
	switch {
	case l.to.unclear:
		return 0
	case l.to.port != 0:
		return l.to.port
	}
	return port
}

// stays reports whether packets stay on this host.
func (l redirect) stays(a addresses) bool {
	return !l.to.other && (!l.to.address.IsValid() || a.has(l.to.address))
}

// directPacket is a packet that a stranger sends directly to the rule's target.
func (l redirect) directPacket(p packet, a addresses) packet {
	p.address, p.local = l.to.address, l.stays(a)
	p.elsewhere = !p.local
	if p.address.IsValid() {
		p.family = familyOf(p.address)
	}
	p.low, p.high = l.port(p.low), max(l.port(p.high), l.to.last)
	if p.low == 0 {
		p.low, p.high, p.somewhere = 1, 1<<16-1, true
	}
	return p
}

// translatedTo is the packet after the rule has redirected it.
func (l redirect) translatedTo(p packet, a addresses) packet {
	p = l.directPacket(p, a)
	p.stranger = false // it still is one, but translated, and rules may match that
	return p
}

const (
	atPrerouting = unix.NF_INET_PRE_ROUTING
	atInput      = unix.NF_INET_LOCAL_IN
	atForward    = unix.NF_INET_FORWARD
)
