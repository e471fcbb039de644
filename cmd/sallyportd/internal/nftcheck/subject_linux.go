package nftcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// subject is a kind of packets that the server or a service must receive.
type subject struct {
	what      string
	protocol  string
	to        ports
	arrivals  []packet // one for each address, range of ports and interface
	published bool     // forwarded to another host
	stage     stage    // in which the packets are seen
}

// subjectsOf returns what other programs' rules must accept.
func subjectsOf(cfg *config.Config, published []bool, guarded bool, a addresses) []subject {
	v4, v6 := cfg.Listen.Families()
	knocks := packet{protocol: unix.IPPROTO_UDP, low: schedule.MinPort, high: schedule.MaxPort, untracked: guarded}
	list := []subject{{what: "knocks", protocol: "udp", to: knocks.ports(), arrivals: a.arrivals(knocks, cfg.Listen, v4, v6)}}
	for _, o := range cfg.Operations {
		if o.RandomPort {
			p := packet{protocol: unix.IPPROTO_TCP, low: schedule.MinPort, high: schedule.MaxPort}
			list = append(list, subject{what: "connections to random ports", protocol: "tcp", to: p.ports(), arrivals: a.arrivals(p, nil, true, true)})
			break
		}
	}
	if c := cfg.Challenge; c != nil && c.Answers != nil {
		p := packet{protocol: unix.IPPROTO_TCP, low: int(c.Answers.Port), high: int(c.Answers.Port)}
		list = append(list, subject{what: "connections that fetch challenges", protocol: "tcp", to: p.ports(), arrivals: a.arrivals(p, cfg.Listen, v4, v6)})
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Rotates() {
			list = append(list, a.drawnSubjects(s)...)
			continue
		}
		if s.Via() != 0 {
			list = append(list, a.viaSubjects(s)...)
			continue
		}
		x := a.subjectAt(s, s.At(), false)
		x.published = published[i]
		list = append(list, x)
	}
	return list
}

// subjectAt are the packets for a service at some of its ports.
func (a addresses) subjectAt(s *config.Service, all []firewall.At, redirected bool) subject {
	x := subject{what: "packets for service " + s.Name, protocol: s.Protocol()}
	for _, at := range all {
		p, v4, v6 := packetTo(s, at)
		p.redirected = redirected
		var addresses []netip.Addr
		if at.Address.IsValid() {
			addresses = []netip.Addr{at.Address}
		}
		x.to, x.arrivals = x.to.or(p.ports()), append(x.arrivals, a.arrivals(p, addresses, v4, v6)...)
	}
	return x
}

// packetTo returns a packet to some of a service's ports, and whether it may be of
// IPv4 and IPv6.
func packetTo(s *config.Service, at firewall.At) (p packet, v4, v6 bool) {
	v4, v6 = s.Addresses().Families()
	if at.Address.IsValid() {
		v4, v6 = at.Address.Is4(), at.Address.Is6()
	}
	return packet{protocol: number(s), low: int(at.Ports.First), high: int(at.Ports.Last)}, v4, v6
}

// maxArrivals is how many addresses of an interface are judged one by one.
const maxArrivals = 8

// arrivals returns packets of strangers to some addresses, or to all that the
// host has of its families, on each interface on which they come in.
func (a addresses) arrivals(p packet, at []netip.Addr, v4, v6 bool) (list []packet) {
	p.stranger = true
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if family == unix.NFPROTO_IPV4 && !v4 || family == unix.NFPROTO_IPV6 && !v6 {
			continue
		}
		var to []netip.Addr
		any := true
		for _, x := range at {
			x = x.Unmap().WithZone("")
			if any = any && x.IsUnspecified(); familyOf(x) == family && !x.IsUnspecified() && !x.IsLoopback() {
				to = append(to, x)
			}
		}
		if !any && len(to) == 0 {
			continue
		}
		for _, o := range a.outside[family] {
			addresses := to
			if len(to) == 0 {
				addresses = o.list[:min(len(o.list), maxArrivals)]
			}
			for _, x := range addresses {
				p.family, p.address, p.in, p.local = family, x, o.anInterface, a.has(x)
				list = append(list, p)
			}
		}
		if len(a.outside[family]) == 0 && (len(a.list) == 0 || len(to) > 0) {
			for _, x := range append(to, netip.Addr{})[:max(len(to), 1)] {
				p.family, p.address, p.in, p.local = family, x, anInterface{}, !x.IsValid() || a.has(x)
				list = append(list, p)
			}
		}
	}
	return list
}

// match is how nft names the packets.
func (s subject) match() string {
	if len(s.to) > 1 {
		return fmt.Sprintf("%s dport { %s }", s.protocol, s.numbers("-"))
	}
	return fmt.Sprintf("%s dport %s", s.protocol, s.numbers("-"))
}

// met is what became of the packets of a subject in one chain.
type met struct {
	drops  []drop
	sure   []packet // of these, some are dropped for sure
	passed []packet // these are not
	ports  ports    // dropped for sure
}

// warnAbout adds a warning if a chain drops packets of a subject.
func (r *ruleset) warnAbout(warnings []Warning, c *chain, s subject) []Warning {
	var m met
	for _, p := range s.arrivals {
		sees := !c.ingress() || p.in.name == "" || len(c.devices) == 0 || slices.Contains(c.devices, p.in.name)
		if _, ok := p.seenBy(c.family); !ok || !sees {
			continue
		}
		w := walk{ruleset: r, packet: p, typical: true}
		w.enter(c, p.ports())
		m.drops = append(m.drops, w.drops...)
		if m.ports = m.ports.or(w.dropped); len(w.dropped) > 0 {
			m.sure = append(m.sure, p)
		} else {
			m.passed = append(m.passed, p)
		}
	}
	if len(m.drops) == 0 {
		return warnings
	}
	i := max(0, slices.IndexFunc(m.drops, func(d drop) bool { return d.sure }))
	d := m.drops[i]
	text := fmt.Sprintf("the firewall chain \"%s\" %s: %s", c.name, m.verb(s, d), d.why())
	hint := r.hintFor(c, s, d)
	for _, earlier := range warnings {
		if earlier.Hint == hint && strings.Contains(earlier.Text, " "+m.verb(s, d)) {
			return warnings // the other family of the same tool
		}
	}
	return append(warnings, Warning{text, hint})
}

// verb is what a chain does to the packets of a subject.
func (m met) verb(s subject, d drop) string {
	if !d.sure {
		return "may drop " + s.what
	}
	text := "drops " + s.what
	if len(s.to.without(m.ports)) > 0 {
		text = "drops some " + s.what + ", to ports " + m.ports.String()
	}
	return text + m.only()
}

// only names what distinguishes the packets that are dropped.
func (m met) only() string {
	for _, by := range []func(packet) string{
		func(p packet) string { return " that come in on " + p.in.name },
		func(p packet) string {
			return " over " + map[byte]string{unix.NFPROTO_IPV4: "IPv4", unix.NFPROTO_IPV6: "IPv6"}[p.family]
		},
		func(p packet) string { return " to " + p.address.String() },
	} {
		same := func(p packet) bool { return by(p) == by(m.sure[0]) }
		if len(m.passed) > 0 && !slices.ContainsFunc(m.passed, same) {
			return by(m.sure[0])
		}
	}
	return ""
}

// why names the rule that drops.
func (d drop) why() string {
	switch {
	case d.rule == "" && d.except != "":
		return "its policy is drop, and the first rule that may accept them is " + d.except
	case d.rule == "":
		return "no rule accepts them, and its policy is drop"
	case d.except != "":
		return d.rule + ", except those that an earlier rule accepts: " + d.except
	}
	return d.rule
}
