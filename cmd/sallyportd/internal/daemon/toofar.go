package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	// tooFarInterval is how often the server asks the shield whose knocks it has
	// refused, and logs at most one line about it.
	tooFarInterval = time.Minute
	// tooFarPause is after what time the log names a client again.
	tooFarPause = time.Hour
	// tooFarNamed is how many clients a line names, and maxTooFar how many the server
	// remembers: the shield counts the refusals of each.
	tooFarNamed, maxTooFar = 5, 500
)

// tooFar are the clients of which the shield has refused knocks because their nonces
// were too far ahead, and that have not used a higher nonce since. An attacker who has
// seen an identifier can make a client one of them, and cannot remove it; a knock of the
// client can. Its methods may be called concurrently.
type tooFar struct {
	refused func(func(wire.Identifier, uint32)) // since the last call
	table   func() *verify.KeyTable
	now     func() time.Time

	mu sync.Mutex
	of map[wire.Identifier]*refusals
}

// refusals are the refused knocks of a client.
type refusals struct {
	number  uint64
	last    time.Time
	highest uint32    // the client's highest nonce when the first was noticed
	logged  time.Time // zero: not yet
}

// poll asks the shield, and removes the clients that have used a higher nonce. The
// caller holds the lock.
func (a *tooFar) poll() {
	table, now := a.table(), a.now()
	highest := func(id wire.Identifier) (n uint32) {
		current, previous := table.Windows(id)
		for _, s := range []verify.Secret{current, previous} {
			if s.Floor != nil {
				n = max(n, s.Floor.Highest())
			}
		}
		return n
	}
	maps.DeleteFunc(a.of, func(id wire.Identifier, r *refusals) bool {
		n := highest(id)
		return n == 0 || n > r.highest || now.Sub(r.last) > 24*time.Hour
	})
	a.refused(func(id wire.Identifier, number uint32) {
		r := a.of[id]
		switch n := highest(id); {
		case r == nil && (n == 0 || len(a.of) >= maxTooFar):
			return
		case r == nil:
			r = &refusals{highest: n}
			a.of[id] = r
		}
		r.number, r.last = r.number+uint64(number), now
	})
}

// list returns the clients, those with the most refusals first.
func (a *tooFar) list() []admin.TooFar {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.poll()
	list := []admin.TooFar{}
	for id, r := range a.of {
		list = append(list, admin.TooFar{Client: id.String(), Refused: r.number, Last: r.last})
	}
	slices.SortFunc(list, func(a, b admin.TooFar) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Client, b.Client))
	})
	return list
}

// unlogged returns the clients to name in the log. Each was refused before the last
// poll, and has not got in since.
func (a *tooFar) unlogged() (ids []wire.Identifier) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := maps.Clone(a.of)
	a.poll()
	now := a.now()
	for id, r := range a.of {
		if before[id] == r && (r.logged.IsZero() || now.Sub(r.logged) >= tooFarPause) {
			r.logged = now
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *Server) newTooFar() *tooFar {
	return &tooFar{
		refused: s.ingest.TooFarAhead, now: s.env.Clock.Wall, of: map[wire.Identifier]*refusals{},
		table: func() *verify.KeyTable {
			s.reloads.mu.Lock()
			defer s.reloads.mu.Unlock()
			return s.reloads.table
		},
	}
}

// watchTooFar logs the clients that the shield refuses, until ctx ends.
func (s *Server) watchTooFar(ctx context.Context) {
	tick := time.NewTicker(tooFarInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.logTooFar()
	}
}

func (s *Server) logTooFar() {
	if ids := s.tooFar.unlogged(); len(ids) > 0 {
		s.env.Log.Warn("nonces too far ahead; knocks refused", "client", namedUpTo(ids, tooFarNamed),
			"hint", "if such a client does not get in: sallyportd client resync IDENTIFIER")
	}
}

// Resync makes the shield accept any nonce of a client until its next knock. The replay
// window stays: no nonce is accepted twice.
func (s *Server) Resync(ctx context.Context, r admin.Resync) (done admin.Resynced, err error) {
	id, err := secrets.ParseIdentifier(r.Client)
	if err != nil {
		return done, err
	}
	s.tooFar.list()     // earlier refusals must not count as later ones
	s.reloads.mu.Lock() // a reload replaces the floors
	defer s.reloads.mu.Unlock()
	found, err := s.sessions.Resync(ctx, id)
	switch {
	case err != nil:
		return done, err
	case !found:
		return done, hint.With(fmt.Errorf("the running server has no client %s", id),
			"\"sallyportd client list\" prints the clients; if it is there, \"sallyportd reload\" prints why the server has not accepted it")
	}
	for _, t := range s.ingest.Stats().Tiers {
		done.Shield = done.Shield || t.Name == "shield" && t.Level != prefilter.None
	}
	s.env.Log.Info("client resynchronised", "client", id)
	return done, nil
}
