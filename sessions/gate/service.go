package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// sweepPause is the least time between two looks at the leases, so that
// thousands of them ending one by one cost little.
const sweepPause = 10 * time.Millisecond

// ErrClosed is the answer to a grant when the gate has shut for good.
var ErrClosed = errors.New("the gate is shut")

// Terms are what a grant is worth. They may change while the gate runs.
type Terms struct {
	OpenFor   time.Duration // what each grant adds
	OpenMax   time.Duration // what a lease may have left at the most
	Anyone    bool          // while any lease runs, let every address in (the paper's way)
	Cut       bool          // running connections end with the lease
	Addresses int           // that a client may have open at a time
}

// Service is one thing that clients open. NewService makes a closed one.
type Service struct {
	Name string

	grain  Grain
	doors  []Door
	opener PortOpener // nil: no random ports
	log    *slog.Logger
	wake   chan struct{} // a lease ends before Run would look again

	mu       sync.Mutex
	terms    Terms
	leases   *Leases
	ports    ports
	everyone time.Time // until when Everyone was admitted
	due      time.Time // when Run looks again; zero: when it is woken
	shut     bool
}

// NewService returns a service without leases. Run must run for them to end.
// A grant opens the doors in their order; the first that is a PortOpener opens
// random ports.
func NewService(name string, g Grain, t Terms, log *slog.Logger, doors ...Door) *Service {
	s := &Service{
		Name: name, grain: g, doors: doors, log: log, wake: make(chan struct{}, 1),
		terms: t, leases: NewLeases(t.OpenFor, t.OpenMax, t.Addresses),
	}
	for _, d := range doors {
		if o, ok := d.(PortOpener); ok && s.opener == nil {
			s.opener = o
		}
	}
	return s
}

// Open begins or extends a lease. If a door fails, none opens.
func (s *Service) Open(g sessions.Grant) error { return s.Do(Order{Grant: g}) }

// open begins or extends a lease, by the terms or for a fixed time.
func (s *Service) open(g sessions.Grant, fixed time.Duration) error {
	a := s.grain.Of(g.Address)
	now := time.Now()
	until, fresh := s.leases.Until(g.Identifier, a, now, fixed)
	if err := s.admit(a, until); err != nil {
		return fmt.Errorf("open %s: %w", s.Name, err)
	}
	displaced := s.leases.Add(g.Identifier, a, now, fixed)
	if fresh {
		s.log.Info("opened", "service", s.Name, "client", g.Identifier, "address", g.Address,
			"for", until.Sub(now).Round(time.Second))
	}
	s.ended(displaced, s.terms.Cut)
	s.hurry()
	return nil
}

// hurry wakes Run if something ends before it would look again.
func (s *Service) hurry() {
	if next, ok := s.next(); ok && (s.due.IsZero() || next.Before(s.due)) {
		s.due = next
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// next is when the first lease or random port ends; false if there is none.
func (s *Service) next() (next time.Time, ok bool) {
	next, ok = s.leases.Next()
	if port, some := s.ports.next(); some && (!ok || port.Before(next)) {
		return port, true
	}
	return next, ok
}

// admit has all doors let an address in, or none more than before. Another
// client behind the address may have it for longer.
func (s *Service) admit(a netip.Addr, until time.Time) error {
	if s.terms.Anyone {
		if !until.After(s.everyone) {
			return nil
		}
		a = Everyone
	} else if latest, ok := s.leases.Latest(a); ok && latest.After(until) {
		until = latest
	}
	for i, d := range s.doors {
		if err := d.Admit(a, until); err != nil {
			if _, held := s.leases.Latest(a); !held {
				if a == Everyone {
					s.everyone = time.Time{}
				}
				for _, opened := range s.doors[:i] {
					opened.Dismiss([]netip.Addr{a}, true)
				}
			}
			return err
		}
	}
	if a == Everyone {
		s.everyone = until
	}
	return nil
}

// Update changes the terms for what is to come, and ends the leases and random
// ports of all clients but those that stay. Others run on as they were granted.
func (s *Service) Update(t Terms, stays func(wire.Identifier) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.terms
	s.terms = t
	s.leases.SetTerms(t.OpenFor, t.OpenMax, t.Addresses)
	s.ports.end(func(p *openPort) bool { return !stays(p.client) }, true)
	revoked := s.leases.Keep(stays)
	if before.Anyone == t.Anyone || len(revoked)+s.leases.Len() == 0 {
		s.ended(revoked, true)
		return
	}
	// Whoever is let in by the new terms stays connected.
	s.everyone = time.Time{}
	old := []netip.Addr{Everyone}
	all := s.leases.All()
	for a, until := range all {
		if err := s.admit(a, until); err != nil {
			s.log.Error("a lease does not go on under the new terms", "service", s.Name, "error", err)
		}
	}
	if t.Anyone {
		old = revoked
		for a := range all {
			old = append(old, a)
		}
	}
	s.dismiss(old, true)
}

// ended brings the doors in line after leases of these addresses have ended.
func (s *Service) ended(addresses []netip.Addr, cut bool) {
	if len(addresses) == 0 {
		return
	}
	if s.leases.Len() == 0 {
		defer s.log.Info("closed", "service", s.Name)
	}
	if s.terms.Anyone {
		s.endedForEveryone(cut)
		return
	}
	var gone []netip.Addr
	for _, a := range addresses {
		// Another client may have a lease for it, which may end sooner.
		until, ok := s.leases.Latest(a)
		if ok && s.admit(a, until) == nil {
			continue
		}
		gone = append(gone, a)
	}
	s.dismiss(gone, cut)
}

func (s *Service) endedForEveryone(cut bool) {
	var last time.Time
	for _, until := range s.leases.All() {
		if until.After(last) {
			last = until
		}
	}
	if !last.Equal(s.everyone) {
		s.everyone = time.Time{}
		if !last.IsZero() && s.admit(Everyone, last) == nil {
			return
		}
		s.dismiss([]netip.Addr{Everyone}, cut)
	}
}

func (s *Service) dismiss(gone []netip.Addr, cut bool) {
	if len(gone) > 0 {
		for _, d := range s.doors {
			d.Dismiss(gone, cut)
		}
	}
}

// Run ends leases and random ports when they are over. When ctx ends it closes the doors for
// good and returns nil.
func (s *Service) Run(ctx context.Context) error {
	defer s.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if next, ok := s.sweep(); ok {
			timer.Reset(max(time.Until(next), sweepPause))
		}
	}
}

// sweep ends what is over and returns when to look again.
func (s *Service) sweep() (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.ended(s.leases.Expire(now), s.terms.Cut)
	s.ports.end(func(p *openPort) bool { return !p.ended && !now.Before(p.until) }, s.terms.Cut)
	s.due, ok = s.next()
	return s.due, ok
}

func (s *Service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	for _, d := range s.doors {
		d.Close()
	}
	s.ports = nil
}
