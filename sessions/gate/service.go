package gate

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

const (
	// sweepPause is the least time between two looks at the leases, so that
	// thousands of them ending one by one cost little.
	sweepPause = 10 * time.Millisecond
	// lookPause is the most: timers stand still while the host is suspended,
	// and leases do not. Should the kernel not tell that it is awake again, this
	// bounds what that costs.
	lookPause = time.Second
)

// ErrClosed is the answer to a grant when the gate has shut for good.
var ErrClosed = access.ErrClosed

// LeasePolicy are what a grant is worth. They may change while the gate runs.
type LeasePolicy struct {
	OpenFor   time.Duration // what each grant adds
	OpenMax   time.Duration // what a lease may have left at the most
	Anyone    bool          // while any lease runs, let every address in (the paper's way)
	Cut       bool          // running connections end with the lease
	Addresses int           // that a client may have open at a time
}

// ServiceConfig is what NewService needs. All but Enforcers is required.
type ServiceConfig struct {
	Name       string
	PrefixLen6 int // how many bits of an IPv6 address count: 128 or 64
	Terms      LeasePolicy
	// Enforcers make leases real. A grant goes to them in their order. The first
	// that is a PortOpener opens random ports.
	Enforcers []access.Enforcer
	// Past returns the peers that clients had leases for who do not stay, as far as
	// something may be connected that no enforcer knows to be theirs. It is called
	// under the service's lock. nil: there are none.
	Past func(stays func(wire.Identifier) bool) []access.Peer
	// Clock is the one of all services and enforcers of a process: they compare
	// its times.
	Clock clock.Clock
	Log   *slog.Logger
}

// Service is one thing that clients open. NewService makes a closed one.
type Service struct {
	Name string

	id         access.ServiceID
	prefixLen6 int
	enforcers  []access.Enforcer
	opener     PortOpener // nil: no random ports
	past       func(stays func(wire.Identifier) bool) []access.Peer
	clock      clock.Clock
	log        *slog.Logger
	wake       chan struct{} // a lease ends before Run would look again

	mu     sync.Mutex
	terms  LeasePolicy
	leases *Leases
	// Whom leases let in: the peers that they are for, anyone, or, while the
	// terms change from one to the other, both.
	knockers, anyone bool
	anyoneUntil      time.Time // as the enforcers have it
	fewer            bool      // a lease has ended before its time: who lets anyone in is known anew
	prepared         time.Time // when that change was prepared
	ports            ports
	due              time.Time // when Run looks again; zero: when it is woken
	shut             bool
}

// NewService returns a service without leases. Run must run for them to end.
func NewService(cfg ServiceConfig) *Service {
	t := cfg.Terms
	s := &Service{
		Name: cfg.Name, id: access.ID(cfg.Name), prefixLen6: cfg.PrefixLen6, enforcers: cfg.Enforcers, past: cfg.Past,
		clock: cfg.Clock, log: cfg.Log, wake: make(chan struct{}, 1),
		terms: t, leases: NewLeases(t.OpenFor, t.OpenMax, t.Addresses), knockers: !t.Anyone, anyone: t.Anyone,
	}
	for _, e := range cfg.Enforcers {
		if o, ok := e.(PortOpener); ok && s.opener == nil {
			s.opener = o
		}
	}
	return s
}

// ID returns the service's identifier.
func (s *Service) ID() access.ServiceID { return s.id }

// Open begins or extends a lease. If an enforcer fails, nothing opens.
func (s *Service) Open(g sessions.Grant) error { return s.Execute(Command{Grant: g}) }

// admits returns whom a lease for a peer lets in.
func (s *Service) admits(p access.Peer) (peers []access.Peer) {
	if s.knockers {
		peers = append(peers, p)
	}
	if s.anyone {
		peers = append(peers, access.Anyone4, access.Anyone6)
	}
	return peers
}

// until is how long the leases let a peer in. Several clients may have it.
func (s *Service) until(p access.Peer) time.Time {
	if p.IsAnyone() {
		return s.leases.Last()
	}
	return s.leases.Latest(p)
}

// hurry wakes Run if something ends before it would look again.
func (s *Service) hurry() {
	if next, ok := s.next(); ok && (s.due.IsZero() || next.Before(s.due)) {
		s.due = next
		s.look()
	}
}

// look wakes Run.
func (s *Service) look() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look
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

// ended brings the enforcers in line after leases of these peers have ended.
// Whom another lease lets in stays in.
func (s *Service) ended(peers []access.Peer, cut bool) { s.endedFor(peers, cut, false) }

// endedFor is ended, with a line of the log if that was all. Revoked: the peers'
// clients have lost the right to the service.
func (s *Service) endedFor(peers []access.Peer, cut, revoked bool) {
	s.endedBy(peers, cut, revoked)
	if len(peers) > 0 {
		s.logClosed()
	}
}

// endedBy is endedFor, without a word.
func (s *Service) endedBy(peers []access.Peer, cut, revoked bool) {
	if len(peers) == 0 {
		return
	}
	end(s.enforcers, s.endings(peers, cut, revoked))
}

// endings are the steps that bring the enforcers in line after leases of these
// peers have ended.
func (s *Service) endings(peers []access.Peer, cut, revoked bool) (steps []*step) {
	add := func(p access.Peer) {
		st := &step{service: s, peer: p, ends: true, cut: cut}
		if s.knockers || p.IsAnyone() {
			st.after = s.until(p)
		}
		// While others let anyone in, it is no client's end that ends everybody's.
		st.revoked = revoked && (!p.IsAnyone() || st.after.IsZero())
		steps = append(steps, st)
	}
	seen := make(map[access.Peer]bool, len(peers))
	for _, p := range peers {
		if (s.knockers || revoked) && !seen[p] { // open to anyone, it still is where a client was connected from
			seen[p] = true
			add(p)
		}
	}
	if last := s.leases.Last(); s.anyone && (s.fewer || !last.Equal(s.anyoneUntil)) {
		s.anyoneUntil = last
		add(access.Anyone4)
		add(access.Anyone6)
	}
	s.fewer = false
	return steps
}

func (s *Service) logClosed() {
	if s.leases.Len() == 0 {
		s.log.Info("closed", "service", s.Name)
	}
}

// Run ends leases and random ports when they are over. When ctx ends it closes
// the enforcers for good and returns nil.
func (s *Service) Run(ctx context.Context) error {
	defer s.close()
	// Timers stand still while the host is suspended, the kernel's timeouts of
	// what it lets in among them: nobody waits for one when it wakes.
	if s.clock.OnJump != nil {
		go s.clock.OnJump(ctx, s.look)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if pause, ok := s.sweep(); ok {
			timer.Reset(pause)
		}
	}
}

// sweep ends what is over, and returns after what time to look again; false if
// there is nothing to look at.
func (s *Service) sweep() (pause time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Boot()
	s.ended(s.leases.Expire(now), s.terms.Cut)
	s.ports.end(func(p *openPort) bool { return !p.ended && !now.Before(p.until) }, s.terms.Cut)
	next, ok := s.next()
	if !ok {
		s.due = time.Time{}
		return 0, false
	}
	pause = pauseBefore(next.Sub(s.clock.Boot()))
	s.due = now.Add(pause)
	return pause, true
}

// pauseBefore is how long to rest before something ends, in so much time.
func pauseBefore(left time.Duration) time.Duration {
	if left > lookPause {
		// Not so close to the end that sweepPause would delay it.
		left = min(left-sweepPause, lookPause)
	}
	return max(left, sweepPause)
}

func (s *Service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	for _, e := range s.enforcers {
		if err := e.Close(); err != nil {
			s.log.Error("failed to close an enforcer", "service", s.Name, "error", err)
		}
	}
	s.ports = nil
}

// revoke ends all that clients have, but for those that stay: leases, random
// ports, and connections, whatever lease let them in.
func (s *Service) revoke(stays func(wire.Identifier) bool) { s.revokeFrom(stays, false) }

// revokeFrom is revoke. Some says that a client is gone; what may be anyone's ends
// then.
func (s *Service) revokeFrom(stays func(wire.Identifier) bool, some bool) {
	s.ports.end(func(p *openPort) bool { return !stays(p.client) }, true)
	peers := s.leases.Keep(stays)
	s.fewer = true
	if s.past != nil {
		peers = append(peers, s.past(stays)...)
	}
	s.endedFor(peers, s.terms.Cut, true)
	for _, e := range s.enforcers {
		if o, ok := e.(owner); ok {
			o.CutOff(func(id wire.Identifier) bool { return !stays(id) }, some || len(peers) > 0)
		}
	}
}

// owner is an enforcer that knows whose its connections are.
type owner interface {
	// CutOff ends the connections that clients have opened who are gone. Some
	// says that there are such clients.
	CutOff(gone func(wire.Identifier) bool, some bool)
	// Owners calls f with each client that has a connection, if it is known. It
	// may call f more than once with one.
	Owners(f func(wire.Identifier))
}
