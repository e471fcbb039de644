package gate

import (
	"errors"
	"log/slog"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// The log of leases: one line when a lease begins, is extended, and ends, with its
// client, address and service. Package loglimit bounds the lines of a client.

// ended is a lease that has ended.
type ended struct {
	client wire.Identifier
	peer   access.Peer
	kept   bool
	since  time.Time // by clock.Boot; zero: it has not taken effect

	commands CommandedLease // nil: none have begun
}

func endedOf(le *lease) ended {
	e := ended{client: le.client, peer: le.peer, kept: le.kept, commands: le.commands}
	if le.took {
		e.since = le.began
	}
	return e
}

func peersOf(all []ended) (peers []access.Peer) {
	for _, e := range all {
		peers = append(peers, e.peer)
	}
	return peers
}

// logGranted logs a granted lease. If it is in effect, it also reports it.
func (r *request) logGranted(le *lease) {
	s := r.service
	log := s.leaseLog(le.client, access.AddressText(le.address), le.peer)
	switch err := s.obstacle(); {
	case le.pending && r.begins != nil:
		log.Info("lease waits for its opening command")
	case le.pending: // which is logged already
	case err == nil:
		r.fresh = r.fresh || !le.took
		le.took = true
		r.logBegun()
		s.report(le)
	case s.obstacles[portUnbound] != nil:
		log.Warn("lease waits for the service port", "error", s.obstacles[portUnbound])
	case errors.Is(err, ErrIdle): // for this lease, the program is needed from now on
		log.Info("lease waits for the program", "reason", "the program has not been started yet")
	default: // also for a lease that took effect before
		log.Info("lease waits for the program", "reason", err)
	}
}

// logBegun logs a lease that has begun, or was extended.
func (r *request) logBegun() {
	s := r.service
	switch {
	case s.leases.IsKept(r.grant.Identifier, r.peer):
		if r.keeps && !r.wasKept || r.fresh {
			s.logOpened(r.grant, r.peer, time.Time{})
		}
	case r.fresh:
		s.logOpened(r.grant, r.peer, r.until)
	case r.until.After(r.before):
		left := r.until.Sub(s.clock.Boot())
		s.leaseLog(r.grant.Identifier, access.AddressText(r.grant.Address), r.peer).Info("extended",
			"for", left.Round(time.Second), "until", s.wall(r.until).UTC().Format(time.RFC3339))
	}
}

// leaseLog returns a log for the lines of a lease: with the drawn port, if it has one.
func (s *Service) leaseLog(client wire.Identifier, address string, p access.Peer) *slog.Logger {
	log := s.log.With("service", s.Name, "client", client, "address", address)
	if p.Port != 0 {
		log = log.With("port", p.Port)
	}
	return log
}

// logOpened logs a lease that takes effect; until is zero for one that has no end.
func (s *Service) logOpened(g sessions.Grant, p access.Peer, until time.Time) {
	log := s.leaseLog(g.Identifier, access.AddressText(g.Address), p)
	if until.IsZero() {
		log.Info("opened", "until", "closed")
		return
	}
	left := until.Sub(s.clock.Boot())
	log.Info("opened", "for", left.Round(time.Second), "until", s.wall(until).UTC().Format(time.RFC3339))
}

// logUncovered logs a grant that does not open the service, because its knocks came from
// several addresses.
func (s *Service) logUncovered(g sessions.Grant) {
	s.log.Warn("knocks from several addresses; the service stays closed", "service", s.Name,
		"client", g.Identifier, "address", g.Address, "hint", "see grant_prefix4 and grant_prefix6 of the service")
}

// logEnded logs leases that have ended, and reports their end to their commands, to
// ServiceConfig.Ended, and of kept ones to ServiceConfig.KeptEnded.
func (s *Service) logEnded(leases []ended, reason EndReason) {
	s.counts.end(reason, len(leases))
	for _, l := range leases {
		if l.kept && s.keptEnded != nil && reason != Stopped && reason != holderLost && reason != unrenewed {
			s.keptEnded(l.client, l.peer)
		}
		s.leaseLog(l.client, addressOf(l.peer), l.peer).Info("closed", "reason", reason)
		if s.ended != nil && !l.since.IsZero() {
			s.ended(Lease{Service: s.Name, Client: l.client, Peer: l.peer, Since: l.since, Kept: l.kept}, reason)
		}
		if l.commands != nil {
			l.commands.End(reason)
		}
	}
	if s.backend != nil && len(leases) > 0 {
		s.wakeRun() // which looks whether the program is needed
	}
}

// endPorts ends random ports. Cut: their connections end with them.
func (s *Service) endPorts(which func(*openPort) bool, cut bool, reason EndReason) {
	s.ports.end(func(p *openPort) bool {
		ends := which(p)
		if ends && !p.ended && p.number == 0 {
			s.log.Info("tunnel closed", "service", s.Name, "client", p.client, "address", addressOf(p.peer), "reason", reason)
		} else if ends && !p.ended {
			s.log.Info("random port closed", "service", s.Name, "client", p.client, "address", addressOf(p.peer), "reason", reason)
		}
		return ends
	}, cut, reason)
}

// addressOf returns a peer for the log: its address, or its prefix if it has several
// addresses.
func addressOf(p access.Peer) string {
	if p.Prefix.IsSingleIP() {
		return p.Prefix.Addr().WithZone(p.Zone).String()
	}
	return p.String()
}
