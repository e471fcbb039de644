package nftcheck

import (
	"fmt"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// A service whose port rotates gets its packets at drawn ports. Our table redirects
// those for a service of type "firewall" to the real port, on this host; the server
// itself listens at those of other services.

// drawnPriority is the priority of our chain that redirects drawn ports.
const drawnPriority = -110

// stage is the part of a packet's way in which a subject is seen.
type stage uint8

const (
	anyStage stage = iota
	beforeTranslation
	afterTranslation
)

// sees reports whether a chain sees packets of the stage.
func (c *chain) sees(s stage) bool {
	return s == anyStage || (s == afterTranslation) == c.translated()
}

// drawnAt are the ports that may be drawn for a service, at its addresses.
func drawnAt(s *config.Service) (all []firewall.At) {
	for _, at := range s.At() {
		for _, r := range s.Drawn().Ranges() {
			all = append(all, firewall.At{Address: at.Address, Ports: access.Ports(r)})
		}
	}
	return all
}

// drawnSubjects are what other programs' rules must accept for a service whose port
// rotates: drawn ports and, after our table has redirected them, the real port.
func (a addresses) drawnSubjects(s *config.Service) []subject {
	drawn := a.subjectAt(s, drawnAt(s), false)
	if s.Binds() {
		return []subject{drawn}
	}
	drawn.stage = beforeTranslation
	real := a.subjectAt(s, s.At(), true)
	real.stage = afterTranslation
	return []subject{drawn, real}
}

// judgeDrawn judges rules that redirect packets to ports that may be drawn.
func (j *judgement) judgeDrawn() {
	s := j.service
	for _, at := range drawnAt(s) {
		if at.Address.IsLoopback() {
			return
		}
		p, v4, v6 := packetTo(s, at)
		for _, p := range j.packets(p, at.Address, v4, v6) {
			for _, l := range j.redirectsOf(p, atPrerouting) {
				if l.source == "" {
					j.judgeDrawnRedirect(l)
				}
			}
			for _, l := range j.redirectsOf(p, atInput) {
				if l.source != "" && s.Binds() {
					j.warn("source", l, "%s changes the source address of clients before leases are checked: every host that gets an address with a lease is let in: remove the rule", l)
				}
			}
		}
	}
}

// judgeDrawnRedirect judges a rule that redirects ports that may be drawn.
func (j *judgement) judgeDrawnRedirect(l redirect) {
	ports := fmt.Sprintf("port %d", l.low)
	if l.low != l.high {
		ports = fmt.Sprintf("ports %d to %d", l.low, l.high)
	}
	where := l.where(0)
	if !j.service.Binds() && j.reach.any() && l.chain.kind == "nat" && l.priority > drawnPriority {
		j.warn("drawn", l, "%s %s %s to %s, and a lease may draw such a port: its client then reaches the service there, and not the target of the rule: name the ports in rotate_except", l, l.verb(), ports, where)
		return
	}
	j.warn("drawn", l, "%s %s %s to %s, and a lease may draw such a port: its client then does not reach the service: name the ports in rotate_except, or let the rule exclude them", l, l.verb(), ports, where)
}

// judgeRealPort judges a rule that redirects the port to which drawn ports lead.
func (j *judgement) judgeRealPort(l redirect, port int, where string) {
	j.warn("real", l, "%s %s port %d to %s, but the drawn ports lead to port %d of this host itself: listen must name the port of a program on this host", l, l.verb(), port, where, port)
}

// The bits of a redirected packet in the status of its connection, as of
// include/uapi/linux/netfilter/nf_conntrack_common.h, and the state that xt_conntrack
// has for it.
const (
	statusDNAT  = 1<<5 | 1<<8
	xtStateDNAT = 1 << 7
)
