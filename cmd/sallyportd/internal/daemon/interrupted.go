package daemon

import (
	"cmp"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// interrupted are the leases with an end that were in force when the server before this
// one stopped in order (resume_leases). That server recorded them when it had closed
// everything. This one removes them from the record before it opens them again, once: so
// a lease that ends later is in no record, however this server ends.
type interrupted struct {
	leases []keptLease
	opened chan struct{} // closed when they were opened again, and their connections go on
}

// chooseInterrupted chooses those of the recorded leases that would be granted now. The
// gate knows which services a client may open.
func (s *Server) chooseInterrupted(cfg *config.Config, o operations, list []state.Kept) {
	for _, l := range list {
		if reason := s.refusesInterrupted(cfg, o, l); reason != "" {
			s.logNotResumed(l, reason)
			continue
		}
		at := address{l.Client, access.ID(l.Service), l.Peer}
		if l.Operation != "" {
			at = o.byID[l.Operation].at(l.Address)
		}
		s.interrupted.leases = append(s.interrupted.leases, keptLease{at, l})
	}
}

// refusesInterrupted returns why a recorded lease would not be granted now; empty: it would.
func (s *Server) refusesInterrupted(cfg *config.Config, o operations, l state.Kept) string {
	service := cfg.Service(l.Service)
	switch {
	case !cfg.ResumeLeases:
		return "resume_leases is off"
	case cfg.Fleet != nil:
		return "another gateway may have revoked it"
	case service == nil:
		return "the service is gone"
	case l.Operation != "":
		return o.refuses(l)
	case !s.inForce.Load().Accepts(l.Client, l.ClientSecret, s.env.Clock.Wall()):
		return "the client is gone, or has a new secret"
	case service.Policy.Anyone != l.Anyone:
		return "open_to of the service has changed"
	case access.PeerIn(l.Address, service.PrefixLen4, service.PrefixLen6) != l.Peer:
		return "grant_prefix4 or grant_prefix6 of the service has changed"
	}
	return ""
}

func (s *Server) logNotResumed(l state.Kept, reason string) {
	s.env.Log.Warn("lease not opened again", "service", l.Service, "operation", l.Operation, "client", l.Client,
		"address", access.AddressText(l.Address), "reason", reason)
}

// openInterrupted opens the leases for the time that they have left.
func (s *Server) openInterrupted() {
	list := s.interrupted.leases
	s.interrupted.leases = nil
	if len(list) == 0 {
		return
	}
	s.kept.serial.Lock()
	defer s.kept.serial.Unlock()
	now, err := clock.Now()
	if err != nil {
		s.env.Log.Error("failed to open interrupted leases", "error", err)
		return
	}
	var commands []command
	var of []state.Kept
	for _, l := range list {
		left := timeLeft(l.End, now, s.env.Clock.Wall())
		if left <= 0 {
			continue // it would have ended
		}
		commands = append(commands, command{service: l.Service, operation: l.Operation, at: l.at, Command: gate.Command{
			Service: l.at.service, Grant: sessions.Grant{Identifier: l.at.client, Address: l.Address},
			AnyAddress: l.at.peer == access.AnyAddress, For: left, Operation: l.Operation, Resumed: true,
		}})
		of = append(of, l.Kept)
	}
	opened := 0
	for i, err := range s.executeRecorded(commands) {
		if err != nil {
			s.logNotResumed(of[i], err.Error())
			continue
		}
		opened++
	}
	if opened > 0 {
		s.env.Log.Info("interrupted leases opened again", "with_leases", opened)
	}
}

// timeLeft returns how much of a lease is left; not positive: it has ended. The wall clock
// can only shorten it.
func timeLeft(e state.End, now clock.Moment, wall time.Time) time.Duration {
	if e.Boot != now.Boot {
		return 0
	}
	return min(e.Since-now.Since, time.Unix(e.Wall, 0).Sub(wall))
}

// recordInterrupted adds the leases that have ended because the server stops to the
// record. The gate has ended, so that no lease begins or ends from here on.
func (s *Server) recordInterrupted() {
	cfg := s.observed.inForce.Load().cfg
	list := s.gate.Stopped()
	if !cfg.ResumeLeases || cfg.Fleet != nil || len(list) == 0 {
		return
	}
	now, err := clock.Now()
	if err != nil {
		s.env.Log.Error("failed to record interrupted leases; they end", "error", err)
		return
	}
	var o operations
	if s.challenge != nil {
		o = *s.challenge.operations.Load()
	}
	boot, wall := s.env.Clock.Boot(), s.env.Clock.Wall()
	slices.SortFunc(list, func(a, b gate.Lease) int { return cmp.Compare(b.Until.Sub(a.Until), 0) })
	for _, l := range list {
		left := l.Until.Sub(boot)
		k, ok := s.interruptedLease(cfg, o, l)
		if !ok || left <= 0 {
			continue
		}
		k.End = state.End{Boot: now.Boot, Since: now.Since + left, Wall: wall.Add(left).Unix()}
		k.Since = time.Unix(wall.Add(l.Since.Sub(boot)).Unix(), 0)
		s.kept.interrupt(keptLease{addressOfLease(l), k})
	}
}

// interruptedLease returns a lease for the record, without its end; false: it cannot be
// opened again. A lease for one attempt's initial sequence number, for a drawn port, or
// for an address of a link, which may be another link after a restart, cannot.
func (s *Server) interruptedLease(cfg *config.Config, o operations, l gate.Lease) (k state.Kept, ok bool) {
	service := cfg.Service(l.Service)
	if l.Kept || service == nil || l.Peer.ISN != 0 || l.Peer.Port != 0 {
		return k, false
	}
	if l.Peer != access.AnyAddress && (l.Peer.Zone != "" || access.PeerIn(l.Address, service.PrefixLen4, service.PrefixLen6) != l.Peer) {
		return k, false
	}
	k = state.Kept{Service: l.Service, Operation: l.Operation, Peer: l.Peer, Address: l.Address, Anyone: service.Policy.Anyone}
	if l.Operation == "" {
		current, _ := s.inForce.Load().Windows(l.Client)
		k.Client, k.ClientSecret = l.Client, current.Fingerprint
		return k, k.ClientSecret != 0
	}
	op, ok := o.byID[l.Operation]
	if !ok {
		return k, false
	}
	if op.Client != "" {
		copy(k.Client[:], op.Client)
	}
	k.Secret, k.ClientSecret = op.allSecrets(), op.clientSecret
	return k, k.Client == (wire.Identifier{}) || k.ClientSecret != 0
}

// allSecrets returns a value that changes with each secret, or key, of the operation.
func (o operation) allSecrets() (all verify.Fingerprint) {
	for _, f := range o.secrets {
		all ^= f
	}
	return all
}

// interrupt adds a lease to the record that has ended because the server stops. There must
// be no later opening.
func (k *kept) interrupt(l keptLease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, has := k.leases[l.at]; !has && len(k.leases) < state.MaxKept {
		k.leases[l.at] = l.Kept
	}
}
