package nftcheck

import (
	"fmt"
	"net/netip"

	"sallyport/cmd/sallyportd/internal/config"
)

// judgement collects what is wrong with one service.
type judgement struct {
	*ruleset
	addresses
	cfg      *config.Config
	service  *config.Service
	reach    reach
	warnings []string
	seen     map[string]bool
}

// warn adds a warning of a rule, once.
func (j *judgement) warn(key string, l lead, format string, args ...any) {
	key = fmt.Sprint(key, l.chain.name, l.handle, l.to)
	if j.seen == nil {
		j.seen = map[string]bool{}
	}
	if j.seen[key] {
		return
	}
	j.seen[key] = true
	j.warnings = append(j.warnings, "service "+j.service.Name+": "+fmt.Sprintf(format, args...))
}

// judge follows packets to the service, of each family that it takes.
func (j *judgement) judge() {
	s := j.service
	if s.Host().IsLoopback() {
		return // strangers' packets do not come there
	}
	v4, v6 := s.Addresses().Families()
	p := packet{protocol: number(s), low: int(s.Port()), high: int(s.Port())}
	for _, p := range j.packets(p, s.Host(), v4, v6) {
		for _, l := range j.leadsOf(p, atPrerouting) {
			j.led(p, l)
		}
		for _, l := range j.leadsOf(p, atInput) {
			if l.source != "" {
				j.warn("source", l, "%s gives its clients another source address, by which leases are judged: who appears with an address that is let in, is let in: remove it", l)
			}
		}
	}
	if !s.Binds() {
		j.namedByTarget(v4, v6)
	}
}

// led judges a rule that leads the service's packets elsewhere.
func (j *judgement) led(p packet, l lead) {
	if l.source != "" {
		return
	}
	s, port := j.service, int(j.service.Port())
	where := l.where(port)
	hook := uint32(atForward)
	if l.stays(j.addresses) {
		hook = atInput
	}
	if !j.closes(p, l) && !j.guardedElsewhere(l, port) {
		if j.stopped(l.translatedTo(p, j.addresses), hook) {
			return
		}
		switch {
		case !j.reach.any():
			j.warn("open", l, "%s %s its port to %s: strangers are let in there without a knock, and clients do not reach the service: remove the rule, have the service listen on another port, or guard the port with a service of type = \"firewall\"", l, l.leads(), where)
		case l.to.how == rewrites || l.to.how == hands:
			j.warn("open", l, "%s %s its port to %s, before the guard sees the packet: strangers are let in there without a knock: remove the rule, or have it translate (dnat) instead", l, l.leads(), where)
		default:
			j.warn("open", l, "%s %s its port past the guard, to %s: strangers are let in there without a knock: %s", l, l.leads(), where, cureOfHook)
		}
		return
	}
	if s.Binds() && l.to.how != tproxies {
		j.warn("never asked", l, "%s %s its port to %s: who has knocked gets there, and never to the service: remove the rule, or have the service listen on another port", l, l.leads(), where)
	}
	j.askedDirectly(p, l, hook)
}

// closes reports whether the guard stops strangers that a rule leads away.
func (j *judgement) closes(p packet, l lead) bool {
	port, stays := int(j.service.Port()), l.stays(j.addresses)
	asNamed := stays && l.port(port) == port && (!j.service.Host().IsValid() || !l.to.address.IsValid() || l.to.address == j.service.Host())
	switch {
	case !j.reach.any():
		return false
	case l.to.how == tproxies:
		return true // the packet stays as it is
	case l.to.how == hands:
		return false
	case l.to.how == rewrites:
		return j.reach.before && !l.ingress && l.priority > guardPriority || j.reach.input && asNamed
	case j.reach.before, j.reach.forward:
		return true
	}
	return j.reach.input && asNamed
}

// guardedElsewhere reports whether a rule leads to a port that is guarded by
// itself, as another service.
func (j *judgement) guardedElsewhere(l lead, port int) bool {
	if !l.stays(j.addresses) {
		return false
	}
	return j.guards(j.service.UDP, l.port(port), func(g reach) bool { return g.input })
}

// guards reports whether a service stands at a port of this host.
func (j *judgement) guards(udp bool, port int, as func(reach) bool) bool {
	for i := range j.cfg.Services {
		if s := &j.cfg.Services[i]; s.UDP == udp && int(s.Port()) == port && (j.reach.any() && as(reachOf(j.cfg, i)) || !j.reach.any() && s.Binds()) {
			return true
		}
	}
	return false
}

// guardsOther reports whether a service guards another host's port by its
// address, where packets are forwarded.
func (j *judgement) guardsOther(p packet) bool {
	for i := range j.cfg.Services {
		s := &j.cfg.Services[i]
		if !s.Binds() && number(s) == p.protocol && s.Host() == p.address && int(s.Port()) == p.low && p.low == p.high && reachOf(j.cfg, i).forward {
			return true
		}
	}
	return false
}

// askedDirectly judges who asks at once for where a guarded port leads.
func (j *judgement) askedDirectly(p packet, l lead, hook uint32) {
	port := int(j.service.Port())
	next := l.next(p, j.addresses)
	if l.to.how == tproxies || l.to.address.IsLoopback() || j.stopped(next, atPrerouting, hook) {
		return
	}
	if hook == atForward {
		if j.forwards[next.family] && !l.to.other && !j.guardsOther(next) {
			j.warn("direct", l, "it stands for %s, by %s: strangers to whom this host is a router ask there directly, and are let in without a knock: have a chain at hook forward drop \"%s daddr %s %s ct status ! dnat\" (Docker does so by itself, from version 28 on), or guard that address too",
				l.where(port), l, familyName(next.family), l.to.address, portsText(next))
		}
		return
	}
	if next.low == next.high && next.low != port && !j.guards(j.service.UDP, next.low, reach.any) {
		j.warn("direct", l, "it stands for %s, by %s: strangers ask there directly, and are let in without a knock: have a chain at hook input drop \"%s ct status ! dnat\", or guard that port too", l.where(port), l, portsText(next))
	}
}

func portsText(p packet) string {
	if p.low != p.high {
		return "meta l4proto " + p.protocolName()
	}
	return fmt.Sprintf("%s dport %d", p.protocolName(), p.low)
}

// namedByTarget warns of a service that names the port where a rule leads to,
// and not the one that clients ask for.
func (j *judgement) namedByTarget(v4, v6 bool) {
	s, port := j.service, int(j.service.Port())
	for _, p := range j.packets(packet{protocol: number(s), low: 1, high: 1<<16 - 1}, netip.Addr{}, v4, v6) {
		for _, l := range j.leadsOf(p, atPrerouting) {
			if l.source != "" || l.to.port != port || l.low <= port && port <= l.high {
				continue
			}
			if l.stays(j.addresses) && j.reach.input {
				continue // it is seen as it comes in the end
			}
			if !l.stays(j.addresses) && s.Host().IsValid() && (s.Host() != l.to.address || j.reach.forward) {
				continue // another host's, or guarded as such
			}
			if l.low == l.high && j.guards(s.UDP, l.low, reach.any) {
				continue
			}
			asked := fmt.Sprintf("port %d", l.low)
			if l.low != l.high {
				asked = fmt.Sprintf("ports %d to %d", l.low, l.high)
			}
			j.warn("named", l, "%s %s %s of this host to %s: if that is what the service stands for, strangers are let in there without a knock, since it guards port %d as packets ask for it: name the port that clients ask for, listen = \":%d\"",
				l, l.leads(), asked, l.where(port), port, l.low)
		}
	}
}
