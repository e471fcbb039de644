package nftcheck

import (
	"fmt"
	"net/netip"
	"slices"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// judgement collects what is wrong with one service.
type judgement struct {
	*ruleset
	addresses
	cfg      *config.Config
	service  *config.Service
	at       firewall.At // the ports that are judged, of several of the service
	reach    reach
	warnings []string
	seen     map[string]bool
}

// warn adds a warning of a rule, once.
func (j *judgement) warn(key string, l redirect, format string, args ...any) {
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

// judge follows packets to the service, of each family that it accepts.
func (j *judgement) judge() {
	s := j.service
	if j.at.Address.IsLoopback() {
		return // strangers' packets do not get there
	}
	if s.Rotates() {
		j.judgeDrawn()
		if s.Binds() {
			return // it has no other port
		}
	}
	p, v4, v6 := packetTo(s, j.at)
	for _, p := range j.packets(p, j.at.Address, v4, v6) {
		for _, l := range j.redirectsOf(p, atPrerouting) {
			j.judgeRedirect(p, l)
		}
		if s.Via() != 0 {
			p.low, p.high = int(s.Via()), int(s.Via())
		}
		for _, l := range j.redirectsOf(p, atInput) {
			if l.source != "" {
				j.warn("source", l, "%s changes the source address of clients before leases are checked: every host that gets an address with a lease is let in: remove the rule", l)
			}
		}
	}
	if !s.Binds() && !s.Rotates() {
		j.judgeTargetPort(v4, v6)
	}
}

// judgeRedirect judges a rule that redirects the service's packets.
func (j *judgement) judgeRedirect(p packet, l redirect) {
	if l.source != "" {
		return
	}
	s, port := j.service, j.portOf(l)
	where := l.where(port)
	hook := uint32(atForward)
	if l.stays(j.addresses) {
		hook = atInput
	}
	if !j.closes(p, l) && !j.guardedElsewhere(l, port) {
		if j.dropsAll(l.translatedTo(p, j.addresses), hook) {
			return
		}
		switch {
		case !j.reach.any():
			j.warn("open", l, "%s %s its port to %s: strangers get in there without a knock, and clients do not reach the service: remove the rule, let the service listen on another port, or guard the port with a service of type = \"firewall\"", l, l.verb(), where)
		case l.to.how == rewrites || l.to.how == sends:
			j.warn("open", l, "%s %s its port to %s, before the guard sees the packet: strangers get in there without a knock: remove the rule, or let it translate (dnat) instead", l, l.verb(), where)
		default:
			j.warn("open", l, "%s %s its port past the guard, to %s: strangers get in there without a knock: %s", l, l.verb(), where, hookFix)
		}
		return
	}
	if s.Rotates() {
		j.judgeRealPort(l, port, where)
		return
	}
	if s.Via() != 0 {
		j.judgeVia(l, port, where)
		return
	}
	if s.Binds() && l.to.how != tproxies {
		j.warn("never asked", l, "%s %s its port to %s: clients that have knocked get there, and never reach the service: remove the rule, or let the service listen on another port", l, l.verb(), where)
	}
	j.judgeDirectAccess(p, l, hook)
}

// portOf returns the first of the judged ports that a rule redirects.
func (j *judgement) portOf(l redirect) int { return max(int(j.at.Ports.First), l.low) }

// closes reports whether the guard stops strangers whose packets a rule
// redirects.
func (j *judgement) closes(p packet, l redirect) bool {
	port, stays := j.portOf(l), l.stays(j.addresses)
	sameAddress := !j.at.Address.IsValid() || !l.to.address.IsValid() || l.to.address == j.at.Address
	asNamed := stays && l.port(port) == port && l.to.last <= port && sameAddress
	switch {
	case !j.reach.any():
		return false
	case l.to.how == tproxies:
		return true // the packet stays as it is
	case l.to.how == sends:
		return false
	case l.to.how == rewrites:
		return j.reach.before && !l.ingress && l.priority > guardPriority || j.reach.input && asNamed
	case j.reach.before, j.reach.forward:
		return true
	}
	return j.reach.input && asNamed
}

// guardedElsewhere reports whether a rule redirects to a port that is guarded
// as another service.
func (j *judgement) guardedElsewhere(l redirect, port int) bool {
	if !l.stays(j.addresses) {
		return false
	}
	for to := l.port(port); to <= max(l.port(port), l.to.last); to++ {
		if !j.guards(j.service.UDP, to, func(g reach) bool { return g.input }) {
			return false
		}
	}
	return true
}

// guards reports whether a service has a port of this host: with a guard that
// sees its packets as required or, without a guard, as a listener.
func (j *judgement) guards(udp bool, port int, as func(reach) bool) bool {
	for i := range j.cfg.Services {
		s := &j.cfg.Services[i]
		if s.UDP != udp || !access.AnyHas(s.Ports(), uint16(port)) && int(s.Via()) != port {
			continue
		}
		if j.reach.any() && as(reachOf(j.cfg, i)) || !j.reach.any() && s.Binds() {
			return true
		}
	}
	return false
}

// guardsAll reports whether services guard all ports of a range, of the judged
// service's protocol.
func (j *judgement) guardsAll(low, high int) bool {
	for port := low; port <= high; port++ {
		if !j.guards(j.service.UDP, port, reach.any) {
			return false
		}
	}
	return true
}

// guardsOther reports whether a service guards another host's port by its
// address, where packets are forwarded.
func (j *judgement) guardsOther(p packet) bool {
	for i := range j.cfg.Services {
		s := &j.cfg.Services[i]
		same := number(s) == p.protocol && slices.ContainsFunc(s.At(), func(at firewall.At) bool {
			return at.Address == p.address && int(at.Ports.First) <= p.low && p.high <= int(at.Ports.Last)
		})
		if same && !s.Binds() && reachOf(j.cfg, i).forward {
			return true
		}
	}
	return false
}

// judgeDirectAccess judges strangers that connect directly to the target of a
// rule that redirects a guarded port.
func (j *judgement) judgeDirectAccess(p packet, l redirect, hook uint32) {
	port := j.portOf(l)
	next := l.directPacket(p, j.addresses)
	if l.to.how == tproxies || l.to.address.IsLoopback() || j.dropsAll(next, atPrerouting, hook) {
		return
	}
	if hook == atForward {
		if j.forwards[next.family] && !l.to.other && !j.guardsOther(next) {
			j.warn("direct", l, "clients reach %s by %s, but strangers that use this host as a router reach it directly, without a knock: let a chain at hook forward drop \"%s daddr %s %s ct status ! dnat\" (Docker does so since version 28), or guard that address too",
				l.where(port), l, familyName(next.family), l.to.address, portsText(next))
		}
		return
	}
	if l.to.port != 0 && next.low != port && !j.guardsAll(next.low, next.high) {
		j.warn("direct", l, "clients reach %s by %s, but strangers reach it directly, without a knock: let a chain at hook input drop \"%s ct status ! dnat\", or guard that port too", l.where(port), l, portsText(next))
	}
}

func portsText(p packet) string {
	switch {
	case p.somewhere:
		return "meta l4proto " + p.protocolName()
	case p.low != p.high:
		return fmt.Sprintf("%s dport %d-%d", p.protocolName(), p.low, p.high)
	}
	return fmt.Sprintf("%s dport %d", p.protocolName(), p.low)
}

// judgeTargetPort warns of a service that names the port to which a rule
// redirects, and not the one that clients connect to.
func (j *judgement) judgeTargetPort(v4, v6 bool) {
	s := j.service
	for _, p := range j.packets(packet{protocol: number(s), low: 1, high: 1<<16 - 1}, netip.Addr{}, v4, v6) {
		for _, l := range j.redirectsOf(p, atPrerouting) {
			port := l.to.port
			if l.source != "" || !j.at.Ports.Has(uint16(port)) || l.low <= port && port <= l.high {
				continue
			}
			if l.stays(j.addresses) && j.reach.input {
				continue // the guard sees the port after translation
			}
			if !l.stays(j.addresses) && j.at.Address.IsValid() && (j.at.Address != l.to.address || j.reach.forward) {
				continue // another host's, or guarded as such
			}
			if j.guardsAll(l.low, l.high) {
				continue
			}
			asked, named := fmt.Sprintf("port %d", l.low), fmt.Sprint(l.low)
			if l.low != l.high {
				asked, named = fmt.Sprintf("ports %d to %d", l.low, l.high), fmt.Sprintf("%d-%d", l.low, l.high)
			}
			j.warn("named", l, "%s %s %s of this host to %s: if the service is meant to hide that program, strangers get in there without a knock, because the guard checks the port that packets had before translation, and guards port %d: name the port that clients connect to, listen = \":%s\"",
				l, l.verb(), asked, l.where(port), port, named)
		}
	}
}
