package daemon

import (
	"context"
	"maps"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// leave fills in who leaves by a plan: the clients that it lacks, and those that
// have lost a secret, whose identifier is another client's now. Who is missing in
// a file that was only noticed, and has something open, waits. It returns how many
// clients are missing so.
func (s *Server) leave(p *plan, why request) (absent int) {
	table, wall, now := p.terms.Rules.Table, s.env.Clock.Wall(), s.env.Clock.Monotonic()
	if s.reloads.table == nil {
		return 0
	}
	anew, holders := map[wire.Identifier]bool{}, s.gate.ActiveClients()
	if s.carried != nil {
		s.carried.holders(holders)
	}
	for id := range s.reloads.table.Identifiers() {
		had, _ := s.reloads.table.Secrets(id)
		switch {
		case !p.isClient[id]:
			p.gone = append(p.gone, id)
			if !why.noticed || id == why.revoked {
				continue
			}
			absent++
			if holders[id] {
				s.reloads.missing.add(id, had, now)
			}
		case table.Withdraws(had, id, wall):
			p.gone, anew[id] = append(p.gone, id), true
		}
	}
	for id, a := range s.reloads.missing.of {
		if p.isClient[id] && table.Withdraws(a.had, id, wall) {
			anew[id] = true
		}
	}
	for i := range p.slots {
		p.slots[i].Readded = anew[p.slots[i].Identifier]
	}
	p.anew = anew
	return absent
}

// settleMissing warns of clients that are missing although nobody has said so,
// and cuts those off of whom somebody has.
func (s *Server) settleMissing(p plan, why request, absent int, cfg *config.Config) {
	said := map[wire.Identifier]bool{}
	for id := range s.reloads.missing.of {
		if !p.isClient[id] && (!why.noticed || id == why.revoked) {
			said[id] = true
			s.reloads.missing.drop(id)
		}
	}
	if len(said) > 0 {
		s.gate.Revoke(func(id wire.Identifier) bool { return said[id] })
	}
	if absent > 0 {
		s.env.Log.Warn("clients are missing in the clients file: they get in no more, and are cut off if it stays so",
			"clients", absent, "with_leases", len(s.reloads.missing.of), "after", cfg.ClientsSettle)
	}
}

// cutMissing cuts off who has been missing for long enough. The file stands
// unchanged since a time; zero: it is not the one in force.
func (s *Server) cutMissing(now, unchanged time.Time) {
	over := s.reloads.missing.due(now, unchanged, s.reloads.current.ClientsSettle)
	if len(over) == 0 {
		return
	}
	s.gate.Revoke(func(id wire.Identifier) bool { return over[id] })
	s.env.Log.Warn("cut off clients that are missing in the clients file", "clients", len(over))
}

// narrowTo takes away the rights that a plan lacks, although it cannot be put in
// force. It only fails when ctx ends.
func (s *Server) narrowTo(ctx context.Context, p plan) error {
	less := maps.Clone(p.restricted)
	if less == nil {
		less = map[wire.Identifier][]access.ServiceID{}
	}
	for _, id := range p.gone {
		less[id] = nil
	}
	return s.narrow(ctx, less)
}

// narrow takes rights from clients at once: each keeps the services that are
// given for it; without any it is revoked. Until the clients file is in force
// again, nothing gives a right back. It only fails when ctx ends.
func (s *Server) narrow(ctx context.Context, less map[wire.Identifier][]access.ServiceID) error {
	cut, err := s.gate.Narrow(maps.All(less))
	if err != nil {
		return err
	}
	s.challenge.narrow(less)
	// Also for those who stay: what they have been granted before is carried out.
	err = s.sessions.Remove(ctx, func(id wire.Identifier) bool {
		services, some := less[id]
		return some && len(services) == 0
	})
	cut(s.reloads.missing.has)
	return err
}
