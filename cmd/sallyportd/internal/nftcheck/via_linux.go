package nftcheck

import (
	"fmt"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// A service behind a proxy gets its packets at the program's port. Our table redirects
// those of admitted peers to via_port, on this host.

// viaAt is the port of the proxy, with the service's address.
func viaAt(s *config.Service) []firewall.At {
	return []firewall.At{{Address: s.At()[0].Address, Ports: access.Ports{First: s.Via(), Last: s.Via()}}}
}

// viaSubjects are what other programs' rules must accept for a service behind a proxy:
// packets to the program's port and, after our table has redirected them, to via_port.
func (a addresses) viaSubjects(s *config.Service) []subject {
	asked, proxy := a.subjectAt(s, s.At(), false), a.subjectAt(s, viaAt(s), true)
	asked.stage, proxy.stage = beforeTranslation, afterTranslation
	proxy.what += fmt.Sprintf(", which have port %d after their redirect (via_port)", s.Via())
	return []subject{asked, proxy}
}

// judgeVia judges a rule that redirects the port of a program behind a proxy.
func (j *judgement) judgeVia(l redirect, port int, where string) {
	if l.to.how == tproxies || l.chain.kind != "nat" || l.priority <= drawnPriority {
		j.warn("via", l, "%s %s port %d to %s, before it can be redirected to via_port: clients do not reach the service: remove the rule", l, l.verb(), port, where)
		return
	}
	j.warn("via", l, "%s %s port %d to %s, but the proxy connects to the program at port %d of this host itself: remove the rule, or remove via from the service", l, l.verb(), port, where, port)
}
