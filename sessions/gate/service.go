package gate

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

const (
	// minPause is the minimum time between two checks of the leases, so that
	// thousands of them ending one after another cost little.
	minPause = 10 * time.Millisecond
	// maxPause is the maximum: timers stand still while the host is suspended,
	// and leases do not. If the kernel does not report the resume, this limits
	// the delay.
	maxPause = time.Second
)

// ErrClosed is the error of a grant after the gate has closed for good.
var ErrClosed = access.ErrClosed

// LeasePolicy describes the leases of a service. It may change while the gate
// runs.
type LeasePolicy struct {
	OpenFor   time.Duration // time that each grant adds
	OpenMax   time.Duration // maximum remaining time of a lease
	Anyone    bool          // while any lease runs, admit every address (as in the paper)
	Cut       bool          // running connections end with the lease
	Addresses int           // maximum number of addresses per client at a time
}

// ServiceConfig configures NewService. All fields except Rotation, Enforcers, Past, Inlet,
// KeptEnded and Holds are required.
type ServiceConfig struct {
	Name       string
	PrefixLen4 int // number of significant bits of an IPv4 address: 16 to 32; 0: 32
	PrefixLen6 int // number of significant bits of an IPv6 address: 128 or 64
	// RequireISN: each grant admits only connections that begin with its initial sequence
	// number. It requires single addresses, a policy without Anyone and Cut, and the
	// firewall as the only enforcer.
	RequireISN bool
	// Shared: a grant opens the service at all gateways of a fleet. It requires a port that
	// does not rotate.
	Shared bool
	// Elsewhere: other gateways of the fleet have the service, and not this one. Grants here
	// open it there only. It requires Shared.
	Elsewhere bool
	Policy    LeasePolicy
	// Rotation chooses the port that a grant opens; nil: the service has its own port.
	// It requires a policy without Anyone: a drawn port is for the client that knows it.
	Rotation Rotation
	// Enforcers make leases real. They receive a grant in this order. The first
	// that is a PortOpener opens random ports.
	Enforcers []access.Enforcer
	// Prepare binds the service's port, closed, and binds it again if the host's
	// addresses or interfaces have changed. BindPorts and Run call it. nil: the
	// service binds none.
	Prepare func() error
	// Past returns the peers of earlier leases of clients that do not stay, if
	// connections may exist of which no enforcer knows the owner. It is called
	// under the service's lock. nil: there are none.
	Past func(stays func(wire.Identifier) bool) []access.Peer
	// Inlet takes the tunnels of the service; nil: it has none.
	Inlet *Inlet
	// KeptEnded is called when a kept lease has ended for good, and not only
	// because the gate stops, or an enforcer is lost or fails: those leases may be
	// opened again. It is called under the service's lock. nil: it is not called.
	KeptEnded func(wire.Identifier, access.Peer)
	// Ended is called when a lease that has taken effect ends; its Until is zero. It is
	// called under the service's lock, and must return at once. nil: it is not called.
	Ended func(Lease, EndReason)
	// Holds is called when a client gets its first lease of the service, pending or not,
	// and when its last one has gone. It is called under the service's lock, and must
	// return at once. nil: it is not called.
	Holds func(client wire.Identifier, some bool)
	// Backend is the program behind the service; nil: there is none. While it is not
	// ready, no enforcer admits a peer.
	Backend Backend
	// Commands runs the commands of the service's leases; nil: there are none. A
	// lease is pending, and no enforcer admits its peer, until its opening command
	// has succeeded.
	Commands LeaseCommands
	// Opened is called when a lease takes effect, or is extended while it is in
	// effect, if the service has a Backend or Commands: the grant was accepted
	// earlier then. For other services, a successful Open means that. See
	// Services.Defers. It is called under the service's lock, and must return at
	// once. nil: it is not called.
	Opened func(Lease)
	// Clock must be the same for all services and enforcers of a process: they
	// compare its times.
	Clock clock.Clock
	Log   *slog.Logger
}

// Service is a service that clients open. NewService returns a closed one.
type Service struct {
	Name string

	id         access.ServiceID
	prefixLen4 int
	prefixLen6 int
	requireISN bool
	shared     bool     // grants of other gateways open it
	elsewhere  bool     // other gateways have it, and not this one
	proves     bool     // connections must prove themselves
	rotation   Rotation // nil: the port does not rotate
	enforcers  []access.Enforcer
	opener     PortOpener // nil: no random ports
	inlet      *Inlet     // nil: no tunnels
	bind       func() error
	past       func(stays func(wire.Identifier) bool) []access.Peer
	keptEnded  func(wire.Identifier, access.Peer)
	ended      func(Lease, EndReason)
	backend    Backend       // nil: no program
	commands   LeaseCommands // nil: no commands
	opened     func(Lease)   // nil: not called
	clock      clock.Clock
	log        *slog.Logger
	wake       chan struct{} // a lease ends before Run's next check

	counts serviceCounts

	mu     sync.Mutex
	terms  LeasePolicy
	leases *Leases
	// Which peers leases admit: the peers that they are for, anyone, or, while
	// the policy changes from one to the other, both.
	knockers, anyone bool
	anyoneUntil      time.Time // as the enforcers know it
	shortened        bool      // a lease has ended early: the owners of anyone's lease must be updated
	prepared         time.Time // when the change was prepared
	renewFailed      bool
	ports            ports
	obstacles        [numObstacles]error
	due              time.Time // time of Run's next check; zero: when it is woken
	closed           bool
	stopped          []Lease // in force when Run ended
}

// NewService returns a service without leases. Run must run, to end them.
func NewService(cfg ServiceConfig) *Service {
	t := cfg.Policy
	s := &Service{
		Name: cfg.Name, id: access.ID(cfg.Name), prefixLen4: cmp.Or(cfg.PrefixLen4, access.PrefixHost4), prefixLen6: cfg.PrefixLen6, requireISN: cfg.RequireISN, shared: cfg.Shared, elsewhere: cfg.Elsewhere, rotation: cfg.Rotation,
		enforcers: cfg.Enforcers, bind: cfg.Prepare, past: cfg.Past, keptEnded: cfg.KeptEnded, ended: cfg.Ended,
		backend: cfg.Backend, commands: cfg.Commands, opened: cfg.Opened,
		clock: cfg.Clock, log: cfg.Log, wake: make(chan struct{}, 1),
		terms: t, leases: NewLeases(t.OpenFor, t.OpenMax, t.Addresses),
		knockers: !t.Anyone, anyone: t.Anyone,
	}
	s.leases.holds = cfg.Holds
	if s.backend != nil {
		s.obstacles[programNotReady] = ErrIdle
		s.backend.Watch(s.watchObstacle(programNotReady))
	}
	if s.commands != nil {
		s.commands.Watch(s.watchObstacle(noCommands))
	}
	if s.inlet = cfg.Inlet; s.inlet != nil {
		s.enforcers = append(slices.Clip(s.enforcers), s.inlet)
	}
	for _, e := range s.enforcers {
		if o, ok := e.(PortOpener); ok && s.opener == nil {
			s.opener = o
		}
		if t, ok := e.(*TCP); ok {
			t.leases = s.hasLease
		}
		if p, ok := e.(prover); ok && p.setLeases(s.holds) {
			s.proves = true
		}
	}
	return s
}

// ID returns the service's identifier.
func (s *Service) ID() access.ServiceID { return s.id }

// Open begins or extends a lease. If an enforcer fails, nothing opens.
func (s *Service) Open(g sessions.Grant) error { return s.Execute(Command{Grant: g}) }

// admits returns the peers that a lease for a peer admits.
func (s *Service) admits(p access.Peer) (peers []access.Peer) {
	if s.knockers {
		peers = append(peers, p.Admitted()...)
	}
	if s.anyone {
		peers = append(peers, access.Anyone4, access.Anyone6)
	}
	return peers
}

// until returns until when the leases admit a peer. Several clients may have a
// lease for it.
func (s *Service) until(p access.Peer) time.Time { return s.untilOf(p, s.anyone) }

// untilOf is until, for leases that admit anyone or not.
func (s *Service) untilOf(p access.Peer, anyone bool) time.Time {
	switch {
	case p.IsAnyone() && anyone:
		return s.leases.Last()
	case p.IsAnyone():
		return s.leases.Latest(access.AnyAddress)
	}
	return s.leases.Latest(p)
}

// reschedule wakes Run if a lease or port ends before Run's next check.
func (s *Service) reschedule() {
	if next, ok := s.next(); ok && (s.due.IsZero() || next.Before(s.due)) {
		s.due = next
		s.wakeRun()
	}
}

// wakeRun wakes Run.
func (s *Service) wakeRun() {
	select {
	case s.wake <- struct{}{}:
	default: // Run is already about to check
	}
}

// next returns when the first lease or random port ends; false if there is
// none.
func (s *Service) next() (next time.Time, ok bool) {
	next, ok = s.leases.Next()
	if port, some := s.ports.next(); some && (!ok || port.Before(next)) {
		return port, true
	}
	return next, ok
}

// expire ends the leases that end until a time.
func (s *Service) expire(now time.Time, reason EndReason) {
	peers, gone := s.leases.Expire(now)
	s.revokePeers(peers, s.terms.Cut, false)
	s.cutProved(gone, s.terms.Cut)
	for _, le := range gone {
		if le.kept && reason == expired {
			s.logEnded([]ended{le}, unrenewed)
		} else {
			s.logEnded([]ended{le}, reason)
		}
	}
}

// revokePeers updates the enforcers after leases of these peers have ended. A peer
// that another lease admits stays admitted. Revoked: the peers' clients have lost the
// right to the service.
func (s *Service) revokePeers(peers []access.Peer, cut, revoked bool) {
	if len(peers) == 0 {
		return
	}
	applyRevocations(s.enforcers, s.revocationSteps(peers, cut, revoked))
}

// revocationSteps returns the steps that update the enforcers after leases of
// these peers have ended.
func (s *Service) revocationSteps(peers []access.Peer, cut, revoked bool) (steps []*step) {
	add := func(p access.Peer) {
		st := &step{service: s, peer: p, ends: true, cut: cut}
		if s.knockers || p.IsAnyone() {
			st.after = s.until(p)
		}
		// While leases of other clients admit anyone, the end of one client
		// must not end the connections of all.
		st.revoked = revoked && (!p.IsAnyone() || st.after.IsZero())
		steps = append(steps, st)
	}
	seen := make(map[access.Peer]bool, len(peers))
	for _, p := range peers {
		if (s.knockers || revoked) && !seen[p] { // even if open to anyone: the client connected from there
			seen[p] = true
			if p != access.AnyAddress {
				add(p)
			} else if !s.anyone { // otherwise they follow
				steps = append(steps, s.anyAddressSteps()...)
			}
		}
	}
	if last := s.leases.Last(); s.anyone && (s.shortened || !last.Equal(s.anyoneUntil)) {
		s.anyoneUntil = last
		add(access.Anyone4)
		add(access.Anyone6)
	}
	s.shortened = false
	return steps
}

// revokeExcept ends all that clients have, except those that stay: leases, random
// ports, and connections, whichever lease let them in. someGone reports that a
// client is gone: connections that may be of any client end then. Why is the reason of
// each client for the log.
func (s *Service) revokeExcept(stays func(wire.Identifier) bool, someGone bool, why func(wire.Identifier) EndReason) {
	for _, reason := range []EndReason{Revoked, ClientExpired} {
		s.endPorts(func(p *openPort) bool { return !stays(p.client) && why(p.client) == reason }, true, reason)
	}
	peers, gone := s.leases.RevokeExcept(stays)
	s.shortened = true
	if s.past != nil {
		peers = append(peers, s.past(stays)...)
	}
	s.revokePeers(peers, s.terms.Cut, true)
	for _, le := range gone {
		s.logEnded([]ended{le}, why(le.client))
	}
	for _, e := range s.enforcers {
		if o, ok := e.(connOwners); ok {
			o.CutOff(func(id wire.Identifier) bool { return !stays(id) }, someGone || len(peers) > 0)
		}
	}
}

// connOwners is an enforcer that knows the owners of its connections.
type connOwners interface {
	// CutOff ends the connections of clients for which gone returns true.
	// someGone reports that there are such clients.
	CutOff(gone func(wire.Identifier) bool, someGone bool)
	// Owners calls f with each known owner of a connection. It may call f
	// several times with one client.
	Owners(f func(wire.Identifier))
}
