package daemon

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// A client that has expired stays in the key table, which refuses its knocks as such. It
// is in no other part of a plan: it has no session, no right and no operation. The
// verifier and the operations compare the wall clock themselves, to the second. Its
// leases and connections end at the next check, as with a revocation.
//
// The wall clock decides, not the first time that it was so late. A clock that was ahead
// would otherwise shut clients out for good. If the clock is set back, a client that had
// expired becomes one that is added: leases that ended stay ended, kept ones too, and
// knocks from before are refused, since the server has not received all of them.

const (
	// expiryInterval is the time between two checks.
	expiryInterval = time.Second
	// expiryWarning is how long before its time a client is in the log, once a day.
	expiryWarning = clients.ExpiryWarning
	expiryPause   = 24 * time.Hour
)

// expiry is when a client expires.
type expiry struct {
	client wire.Identifier
	at     time.Time
}

// expiries are those of a plan, ascending by time.
type expiries []expiry

func expiriesOf(list clients.List) (all expiries) {
	for i := range list {
		if c := &list[i]; !c.Expires.IsZero() {
			all = append(all, expiry{c.Identifier, c.Expires})
		}
	}
	slices.SortFunc(all, func(a, b expiry) int {
		return cmp.Or(a.at.Compare(b.at), slices.Compare(a.client[:], b.client[:]))
	})
	return all
}

// until returns those that expire until a time, that time included.
func (e expiries) until(t time.Time) expiries {
	n, _ := slices.BinarySearchFunc(e, t, func(x expiry, t time.Time) int {
		if x.at.After(t) {
			return 1
		}
		return -1
	})
	return e[:n]
}

func (e expiries) set() map[wire.Identifier]bool {
	ids := make(map[wire.Identifier]bool, len(e))
	for _, x := range e {
		ids[x.client] = true
	}
	return ids
}

func (e expiries) names() (ids []wire.Identifier) {
	for _, x := range e {
		ids = append(ids, x.client)
	}
	return ids
}

// watchExpiries ends what expired clients have, until ctx ends.
func (s *Server) watchExpiries(ctx context.Context) {
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	for {
		s.expire(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// expire ends all that clients have which have expired since the last check, or since
// the plan in force was made. If the clock was set back, it reads the clients file
// again, because the secrets of clients are in no plan in which they have expired.
func (s *Server) expire(ctx context.Context) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	r := &s.reloads
	now := s.env.Clock.Wall()
	s.endExpired(ctx, now)
	if len(r.expiries.until(now)) < r.expired && !s.env.Clock.Monotonic().Before(r.revive) {
		r.revive = s.env.Clock.Monotonic().Add(clients.LookTime)
		s.change(ctx, cause{noticed: true}, "clients", s.readClients) // it logs its result
	}
	if over := r.missing.expired(now); len(over) > 0 {
		s.revoke(over, gate.ClientExpired)
	}
}

// endExpired removes all rights of the clients that have expired at now, and ends what
// they have. The caller holds the lock. Each reload calls it first: from their time on,
// the verifier has refused knocks of these clients, so they must be new ones if the
// reload extends their time.
func (s *Server) endExpired(ctx context.Context, now time.Time) {
	r := &s.reloads
	n := len(r.expiries.until(now))
	if n <= r.expired {
		return
	}
	over := r.expiries[r.expired:n]
	r.expired = n
	none := make(map[wire.Identifier][]access.ServiceID, len(over))
	for _, x := range over {
		none[x.client] = nil
	}
	if err := s.narrow(ctx, none, gate.ClientExpired); err != nil {
		return // ctx has ended, and the server stops
	}
	s.env.Log.Info("clients expired", "clients", len(over), "client", namedUpTo(over.names(), tooFarNamed))
}

// logExpiring warns of clients that expire soon, once a day.
func (w *startWatch) logExpiring(s *Server, now, boot time.Time) {
	if !w.warned.IsZero() && boot.Sub(w.warned) < expiryPause {
		return
	}
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	all := s.reloads.expiries
	soon := all.until(now.Add(expiryWarning))[len(all.until(now)):]
	if len(soon) == 0 {
		return
	}
	w.warned = boot
	s.env.Log.Warn("clients expire soon", "clients", len(soon), "client", namedUpTo(soon.names(), tooFarNamed), "expires", soon[0].at.UTC().Format(time.RFC3339),
		"hint", "to extend: sallyportd client expire IDENTIFIER WHEN")
}
