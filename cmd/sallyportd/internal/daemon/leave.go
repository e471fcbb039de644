package daemon

import (
	"context"
	"maps"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// leave fills in which clients leave by a plan: those that it lacks, and those that
// have lost a secret, so that another client has their identifier now. A client
// that is missing without a command of the administrator, and has a lease, waits.
// leave returns how many clients are missing that way.
func (s *Server) leave(p *plan, why cause) (absent int) {
	table, wall, now := p.settings.Rules.Table, s.env.Clock.Wall(), s.env.Clock.Monotonic()
	if s.reloads.table == nil {
		return 0
	}
	expired := s.reloads.expiries[:s.reloads.expired].set()
	for _, x := range p.expiries[:p.expired] {
		if _, was := s.reloads.table.Secrets(x.client); was && !expired[x.client] {
			p.gone = append(p.gone, x.client)
		}
	}
	readded, holders := map[wire.Identifier]bool{}, s.gate.ActiveClients()
	if s.carried != nil {
		s.carried.holders(holders)
	}
	for id := range s.reloads.table.Identifiers() {
		had, _ := s.reloads.table.Secrets(id)
		switch {
		case !p.isClient[id]:
			p.gone = append(p.gone, id)
			if !s.mayLack(why) || id == why.revoked {
				continue
			}
			absent++
			if holders[id] {
				expires, _ := s.reloads.table.ExpiresAt(id)
				s.reloads.missing.add(id, had, expires, now)
			}
		case table.Withdraws(had, id, wall):
			p.gone, readded[id] = append(p.gone, id), true
		}
	}
	for id, a := range s.reloads.missing.of {
		if p.isClient[id] && table.Withdraws(a.had, id, wall) {
			readded[id] = true
		}
	}
	for i := range p.slots {
		p.slots[i].Readded = readded[p.slots[i].Identifier]
	}
	p.readded = readded
	return absent
}

// settleMissing warns of missing clients, and cuts off those whose removal the
// administrator has confirmed by a command.
func (s *Server) settleMissing(p plan, why cause, absent int, cfg *config.Config) {
	confirmed := map[wire.Identifier]bool{}
	for id := range s.reloads.missing.of {
		if !p.isClient[id] && (!s.mayLack(why) || id == why.revoked) {
			confirmed[id] = true
			s.reloads.missing.drop(id)
		}
	}
	if len(confirmed) > 0 {
		s.revoke(confirmed, gate.Revoked)
	}
	if absent > 0 {
		s.env.Log.Warn("clients missing from the clients file; rejecting knocks",
			"clients", absent, "with_leases", len(s.reloads.missing.of), "clients_settle", cfg.ClientsSettle)
	}
}

// cutMissing cuts off clients that have been missing for long enough. Unchanged is
// since when the file is unchanged; zero: it is not the one in force.
func (s *Server) cutMissing(now, unchanged time.Time) {
	over := s.reloads.missing.due(now, unchanged, s.reloads.current.ClientsSettle)
	if len(over) == 0 {
		return
	}
	s.revoke(over, gate.Revoked)
	s.env.Log.Warn("cut off clients missing from the clients file", "clients", len(over), "removed", named(slices.Collect(maps.Keys(over))))
}

// narrowTo removes the rights that a plan lacks, although the plan cannot be put
// in force. It only fails when ctx ends.
func (s *Server) narrowTo(ctx context.Context, p plan) error {
	less := maps.Clone(p.restricted)
	if less == nil {
		less = map[wire.Identifier][]access.ServiceID{}
	}
	for _, id := range p.gone {
		less[id] = nil
	}
	return s.narrow(ctx, less, gate.Revoked)
}

// narrow removes rights of clients at once: each keeps the services in less;
// without any it is revoked. Only a clients file that the server accepts gives a
// right back. It only fails when ctx ends.
func (s *Server) narrow(ctx context.Context, less map[wire.Identifier][]access.ServiceID, reason gate.EndReason) error {
	cut, err := s.gate.Narrow(maps.All(less))
	if err != nil {
		return err
	}
	cut(s.reloads.missing.has, reason) // the journal may wait for etcd
	s.challenge.narrow(less)
	// Also for the clients that stay: their earlier grants are executed.
	err = s.sessions.Remove(ctx, func(id wire.Identifier) bool {
		services, some := less[id]
		return some && len(services) == 0
	})
	cut(s.reloads.missing.has, reason)
	for id, services := range less {
		if len(services) == 0 && !s.reloads.missing.has(id) {
			s.withdraw(id)
		}
	}
	s.kept.endIf(func(at address) bool {
		services, some := less[at.client]
		return some && !s.reloads.missing.has(at.client) && !slices.Contains(services, at.service)
	})
	s.kept.flush() // it logs errors
	return err
}

// revoke ends all that clients have, with the recorded leases that the gate does not
// have at the moment.
func (s *Server) revoke(gone map[wire.Identifier]bool, reason gate.EndReason) {
	s.gate.Revoke(func(id wire.Identifier) bool { return gone[id] }, reason)
	s.kept.endIf(func(at address) bool { return gone[at.client] })
	s.withdraw(slices.Collect(maps.Keys(gone))...)
	s.kept.flush() // it logs errors
}
