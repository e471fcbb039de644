package client

import (
	"cmp"
	"errors"
	"net/netip"

	"sallyport/verify/schedule"
)

// findings collects the observations of all attempts.
type findings struct {
	knocks      int                 // the number of knocks
	refused     int                 // the number of ICMP errors "port unreachable"
	unreachable int                 // the number of ICMP errors "host unreachable", and of similar ones
	prohibited  int                 // the number of ICMP errors of firewalls
	rejected    map[netip.Addr]bool // of an attempt, no knock arrived at this address
	icmp        map[netip.Addr]bool // addresses with ICMP errors for knocks
	before      before              // what the service did before the first knock
	at          netip.AddrPort      // the service of the most informative attempt
	service     error               // of the last attempt to connect to the service
	server      netip.Addr          // to which the knocks of that attempt went
	split       map[string]int      // ICMP errors by gateway, if sequences are split
	// The local addresses of that attempt: of its knocks, and of its connections.
	sentFrom, connectedFrom netip.Addr
}

// add adds an attempt in which the service did not answer.
func (f *findings) add(tr *trial) {
	f.addICMP(tr)
	if tr.icmp.all(len(tr.sender.ports)) {
		if f.rejected == nil {
			f.rejected = map[netip.Addr]bool{}
		}
		f.rejected[tr.knock] = true
	}
	// An answer of one address reveals more than the silence of another.
	if f.service == nil || !timedOut(tr.err) || timedOut(f.service) {
		if f.at != tr.service {
			f.before = beforeUnknown
		}
		if tr.before != beforeUnknown {
			f.before = tr.before
		}
		f.at, f.service, f.server = tr.service, tr.err, tr.knock
		f.from(tr)
	}
}

// from notes this computer's addresses. A service on another host has its own route.
func (f *findings) from(tr *trial) {
	f.sentFrom, f.connectedFrom = tr.local, netip.Addr{}
	if tr.service.Addr() == tr.knock {
		f.connectedFrom = tr.sighting.local
	}
}

// noteICMP notes whether there are ICMP errors for knocks.
func (f *findings) noteICMP(tr *trial) {
	if len(tr.icmp) == 0 {
		return
	}
	if f.icmp == nil {
		f.icmp = map[netip.Addr]bool{}
	}
	f.icmp[tr.knock] = true
}

// addICMP adds the ICMP errors of an attempt, once.
func (f *findings) addICMP(tr *trial) {
	f.noteICMP(tr)
	e := tr.icmp
	for port := range e {
		if name := tr.gateways[port]; name != "" {
			if f.split == nil {
				f.split = map[string]int{}
			}
			f.split[name]++
		}
	}
	f.knocks += len(tr.sender.ports)
	f.refused += e.count(portUnreachable)
	f.unreachable += e.count(hostUnreachable)
	f.prohibited += e.count(prohibited)
}

// rejections is the number of ICMP errors for knocks.
func (f *findings) rejections() int { return f.refused + f.unreachable + f.prohibited }

// symptom is what the client saw of the service.
func (f *findings) symptom() symptom {
	return symptom{at: f.at, err: f.service, before: f.before, sentFrom: f.sentFrom, connectedFrom: f.connectedFrom}
}

// up reports whether the host, or a firewall in front of it, answered.
func (f *findings) up() bool { return f.refused > 0 || f.symptom().answered() }

// letIn reports whether the service refuses connections that it dropped before the
// knock: the knock opened the port, and nothing listens there.
func (f *findings) letIn() bool { return f.symptom().letIn() && f.refused == 0 }

// diagnose explains why no attempt opened the service, from what the client saw. It
// blames the secrets only if nothing else was observed.
func (f *findings) diagnose(c circumstances) (d diagnosis) {
	s := f.symptom()
	s.granted, s.own = c.granted, c.own
	// ICMP errors for knocks show that no sequence was complete, unless the service
	// has changed since: those of a firewall may be about some of the knocks only.
	changed := s.letIn() || s.opened()
	if f.rejections() > 0 && !closedByProgram(s.err) && (f.refused > 0 || !changed) {
		f.diagnoseICMP(&d)
		if s.err != nil {
			d.see("%s", s.text("knock"))
		}
		if c.other != "" {
			c.explainOther(&d, s)
		}
		if f.unreachable == 0 {
			c.clock.explain(&d)
		}
		if f.refused > 0 {
			d.adviseTrace(c.client)
		}
		return d
	}
	if d, ok := s.diagnose("knock"); ok {
		var icmp diagnosis
		f.diagnoseICMP(&icmp)
		d.certain = append(d.certain, icmp.certain...)
		return d
	}
	switch {
	case errors.Is(s.err, errTaken):
		d.reason = ReasonPortTaken
		d.see("%s accepted connections before the knock, so the client did not use it", s.at)
		d.see("at the other ports of the minute nothing answers")
		d.conclude("another program of the server's host has this port, or another device has opened it in this minute")
	case c.other != "":
		d.reason = ReasonOtherService
		d.see("%s", s.text("knock"))
		c.explainOther(&d, s)
		c.clock.explain(&d)
	case !timedOut(s.err) && !refused(s.err):
		d.reason = ReasonUnreachable
		d.see("%s", s.text("knock"))
		d.conclude("there is no way from this computer to the service")
	default:
		f.diagnoseUnchanged(&d, s, c)
	}
	return d
}

// diagnoseICMP explains ICMP errors for knocks.
func (f *findings) diagnoseICMP(d *diagnosis) {
	if f.unreachable > 0 {
		d.reason = ReasonUnreachable
		d.see("ICMP errors (unreachable) came for %d of %d knocks", f.unreachable, f.knocks)
		d.conclude("the host is down, or there is no route to it")
	}
	if f.prohibited > 0 {
		d.reason = cmp.Or(d.reason, ReasonKnocksProhibited)
		d.see("ICMP errors (prohibited) came for %d of %d knocks", f.prohibited, f.knocks)
		d.conclude("a firewall of the host, or on the way to it, rejects the knocks: it must allow UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
	}
	if f.refused > 0 {
		d.reason = cmp.Or(d.reason, ReasonKnocksRefused)
		d.see("ICMP errors (port unreachable) came for %d of %d knocks: nothing listens on their ports", f.refused, f.knocks)
		d.conclude("the server does not run; or port_secret, ports, generator or the clock differ from the server's; or a firewall rejects the knocks")
	}
}
