package gate

import (
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// The log of leases: one line when a lease begins, is extended, and ends, with its
// client, address and service. Package loglimit bounds the lines of a client.

// The reasons of an end, in the log.
const (
	expired    = "expired"
	requested  = "requested by the client"
	revoked    = "revoked"
	displaced  = "displaced by a newer lease of the client"
	holderLost = "holder lost"
	unrenewed  = "not renewed"
	stopping   = "server stops"
)

// ended is a lease that has ended.
type ended struct {
	client wire.Identifier
	peer   access.Peer
	kept   bool
}

func endedOf(le *lease) ended { return ended{le.client, le.peer, le.kept} }

func peersOf(all []ended) (peers []access.Peer) {
	for _, e := range all {
		peers = append(peers, e.peer)
	}
	return peers
}

// logBegun logs a lease that has begun, or was extended.
func (r *request) logBegun() {
	s := r.service
	left := r.until.Sub(s.clock.Boot())
	attrs := []any{"service", s.Name, "client", r.grant.Identifier, "address", r.grant.Address}
	if s.leases.IsKept(r.grant.Identifier, r.peer) {
		if r.keeps && !r.wasKept {
			attrs = append(attrs, "until", "closed")
			s.log.Info("opened", attrs...)
		}
		return
	}
	attrs = append(attrs, "for", left.Round(time.Second), "until", s.clock.Wall().Add(left).UTC().Format(time.RFC3339))
	switch {
	case r.fresh:
		s.log.Info("opened", attrs...)
	case r.until.After(r.before):
		s.log.Info("extended", attrs...)
	}
}

// logEnded logs leases that have ended, and reports kept ones: see
// ServiceConfig.KeptEnded.
func (s *Service) logEnded(leases []ended, reason string) {
	for _, l := range leases {
		if l.kept && s.keptEnded != nil && reason != stopping && reason != holderLost && reason != unrenewed {
			s.keptEnded(l.client, l.peer)
		}
		s.log.Info("closed", "service", s.Name, "client", l.client, "address", addressOf(l.peer), "reason", reason)
	}
}

// endPorts ends random ports. Cut: their connections end with them.
func (s *Service) endPorts(which func(*openPort) bool, cut bool, reason string) {
	s.ports.end(func(p *openPort) bool {
		ends := which(p)
		if ends && !p.ended {
			s.log.Info("random port closed", "service", s.Name, "client", p.client, "address", addressOf(p.peer), "reason", reason)
		}
		return ends
	}, cut)
}

// addressOf returns a peer for the log: its address, or its prefix if it has several
// addresses.
func addressOf(p access.Peer) string {
	if p.Prefix.IsSingleIP() {
		return p.Prefix.Addr().WithZone(p.Zone).String()
	}
	return p.String()
}
