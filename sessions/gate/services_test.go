package gate

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// system is the clock of tests that do not move one: in a bubble it is the
// bubble's.
var system = clock.Clock{Wall: time.Now, Monotonic: time.Now, Boot: time.Now}

// restrict restricts clients to services, by their names.
func restrict(of map[wire.Identifier][]string) Restricted {
	return func(yield func(wire.Identifier, []access.ServiceID) bool) {
		for id, names := range of {
			var services []access.ServiceID
			for _, name := range names {
				services = append(services, access.ID(name))
			}
			if !yield(id, services) {
				return
			}
		}
	}
}

// update is a complete, successful update: a policy of nil stays as it is.
func (s *Services) update(t *testing.T, r Restricted, isClient func(wire.Identifier) bool, terms map[access.ServiceID]LeasePolicy) {
	t.Helper()
	p := s.prepare(t, r, isClient, terms)
	p.Restrict()
	p.Commit()
}

func (s *Services) prepare(t *testing.T, r Restricted, isClient func(wire.Identifier) bool, terms map[access.ServiceID]LeasePolicy) *Prepared {
	t.Helper()
	if terms == nil {
		terms = s.terms()
	}
	p, err := s.Prepare(Update{Restricted: r, Policies: terms, IsClient: isClient})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *Services) terms() map[access.ServiceID]LeasePolicy {
	all := map[access.ServiceID]LeasePolicy{}
	for _, service := range s.list {
		all[service.id] = service.terms
	}
	return all
}

// update reloads one service.
func (s *Service) update(t *testing.T, terms LeasePolicy, stays func(wire.Identifier) bool) {
	t.Helper()
	if err := s.prepare(terms); err != nil {
		t.Fatal(err)
	}
	s.commit(terms, stays, Update{}.why)
}

func anyClient(wire.Identifier) bool { return true }

// TestRestrictedDuringUpdate: at no instant may a new or a removed client open
// more than it is allowed to.
func TestRestrictedDuringUpdate(t *testing.T) {
	s, err := NewServices([]*Service{serviceOf("web", 128), serviceOf("ssh", 128)}, restrict(map[wire.Identifier][]string{client(1): {"web"}, client(2): {"web"}, client(3): {"web"}}))
	if err != nil {
		t.Fatal(err)
	}
	// The first client leaves, the second may now open all services, the third
	// is unchanged, and the fourth is new.
	next := restrict(map[wire.Identifier][]string{client(3): {"web"}, client(4): {"web"}})
	isClient := func(id wire.Identifier) bool { return id != client(1) }
	p := s.prepare(t, next, isClient, nil)
	if got := s.Names(client(4)); len(got) != 2 {
		t.Errorf("restricted before it was decided: %v", got)
	}
	p.Restrict()
	for id, want := range map[wire.Identifier]int{client(1): 1, client(2): 2, client(3): 1, client(4): 1} {
		if got := s.Names(id); len(got) != want {
			t.Errorf("client %s may open %v", id, got)
		}
	}
	p.Commit()
	if len(s.restricted) != 2 {
		t.Errorf("afterwards: %v", s.restricted)
	}
	s.prepare(t, nil, isClient, nil).Restrict()
	if got := s.Names(client(4)); len(got) != 2 {
		t.Errorf("without restrictions: %v", got)
	}
}

// recorded is an enforcer that records its changes.
type recorded struct {
	open   map[access.Peer]time.Time
	cut    []access.Peer
	soon   []access.Peer
	calls  int
	fail   error                  // of what lets a peer in
	fails  func(access.Peer) bool // nil: for all
	closed bool
}

func (r *recorded) Apply(changes []access.Change) (errs []error) {
	r.calls++
	if r.open == nil {
		r.open = map[access.Peer]time.Time{}
	}
	for i, c := range changes {
		switch {
		case c.Revokes():
			if delete(r.open, c.Peer); c.Cut {
				r.cut = append(r.cut, c.Peer)
			}
			if c.Soon {
				r.soon = append(r.soon, c.Peer)
			}
		case r.fail != nil && (r.fails == nil || r.fails(c.Peer)):
			if errs == nil {
				errs = make([]error, len(changes))
			}
			errs[i] = r.fail
		default:
			r.open[c.Peer] = c.Until
		}
	}
	return errs
}

func (r *recorded) Close() error {
	r.closed = true
	return nil
}

func (r *recorded) has(a string) bool {
	_, ok := r.open[peer(a)]
	return ok
}

func serviceOf(name string, prefixLen6 int, enforcers ...access.Enforcer) *Service {
	return NewService(ServiceConfig{
		Name: name, PrefixLen6: prefixLen6, Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 8},
		Enforcers: enforcers, Clock: system, Log: slog.New(slog.DiscardHandler),
	})
}

// openOne opens a batch of one grant.
func (s *Services) openOne(g sessions.Grant) error {
	return errors.Join(s.Open([]sessions.Grant{g})...)
}

func TestClientsOpenWhatTheyMay(t *testing.T) {
	var web, ssh recorded
	restricted := restrict(map[wire.Identifier][]string{client(1): {"ssh"}, client(3): nil})
	s, err := NewServices([]*Service{serviceOf("web", 128, &web), serviceOf("ssh", 128, &ssh)}, restricted)
	if err != nil {
		t.Fatal(err)
	}
	one, two, three := "192.0.2.1", "192.0.2.2", "192.0.2.3"
	for i, a := range []string{one, two, three} {
		if err := s.openOne(grant("com"+string(rune('1'+i)), a)); err != nil {
			t.Fatal(err)
		}
	}
	if web.has(one) || !ssh.has(one) || !web.has(two) || !ssh.has(two) || web.has(three) || ssh.has(three) {
		t.Errorf("web %v, ssh %v", web.open, ssh.open)
	}
	if got := s.Names(client(1)); !slices.Equal(got, []string{"ssh"}) {
		t.Errorf("names %v", got)
	}
	// A withdrawn right ends the leases that it allowed, and their connections.
	s.update(t, restrict(map[wire.Identifier][]string{client(2): {"web"}}), anyClient, nil)
	if !web.has(two) || ssh.has(two) || !slices.Contains(ssh.cut, peer(two)) || !ssh.has(one) {
		t.Errorf("after: web %v, ssh %v, cut %v", web.open, ssh.open, ssh.cut)
	}
	// A failed service does not prevent the others from opening.
	web.fail = errors.New("no")
	if err := s.openOne(grant("com4", "192.0.2.4")); !errors.Is(err, web.fail) || !ssh.has("192.0.2.4") {
		t.Errorf("ssh %v: %v", ssh.open, err)
	}
	for name, list := range map[string][]*Service{
		"more services than rights": make([]*Service, MaxServices+1), "a service twice": {serviceOf("web", 128), serviceOf("web", 128)},
		"shared in two orders": {serviceOf("web", 128, &web, &ssh), serviceOf("ssh", 128, &ssh, &web)},
	} {
		if _, err := NewServices(list, nil); err == nil {
			t.Error(name)
		}
	}
	_, err = NewServices([]*Service{serviceOf("web", 128)}, restrict(map[wire.Identifier][]string{client(1): {"ssh"}}))
	if err == nil {
		t.Error("a right to a service that there is not")
	}
}

func TestEnforcersOpenTogether(t *testing.T) {
	first, second := &recorded{}, &recorded{fail: errors.New("no")}
	s := serviceOf("both", 128, first, second)
	err := s.Open(grant("com1", "192.0.2.1"))
	if !errors.Is(err, second.fail) || len(first.open) != 0 || s.leases.Len() != 0 {
		t.Errorf("half open: %v, %v", first.open, err)
	}
	second.fail = nil
	if err := s.Open(grant("com1", "192.0.2.1")); err != nil || len(first.open) != 1 || len(second.open) != 1 {
		t.Errorf("not open: %v, %v, %v", first.open, second.open, err)
	}
	// An open lease stays if it cannot be extended.
	second.fail = errors.New("no")
	if err := s.Open(grant("com1", "192.0.2.1")); err == nil || len(first.open) != 1 || len(second.open) != 1 {
		t.Errorf("after a failure: %v, %v, %v", first.open, second.open, err)
	}
}

func TestAddressesByTheirNetwork(t *testing.T) {
	var enforcer recorded
	s := serviceOf("web", 64, &enforcer)
	for _, a := range []string{"2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1", "192.0.2.1", "fe80::1%2", "fe80::2%2"} {
		if err := s.Open(grant("com1", a)); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []string{"2001:db8::", "2001:db8:0:1::", "192.0.2.1", "fe80::1%2", "fe80::2%2"} {
		if _, ok := enforcer.open[access.PeerOf(netip.MustParseAddr(a), 64)]; !ok {
			t.Errorf("%s is not open: %v", a, enforcer.open)
		}
	}
	if len(enforcer.open) != 5 {
		t.Errorf("open: %v", enforcer.open)
	}
}

func TestServiceClosesItsEnforcers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var enforcer recorded
		s := serviceOf("web", 128, &enforcer)
		done := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() { done <- s.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil || !enforcer.closed {
				t.Errorf("shut %v, %v", enforcer.closed, err)
			}
		}()
		s.Open(grant("com1", "192.0.2.1"))
		time.Sleep(5 * time.Second)
		s.Open(grant("com2", "192.0.2.2"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		if len(enforcer.open) != 1 || len(enforcer.cut) != 0 {
			t.Errorf("open %v, cut %v", enforcer.open, enforcer.cut)
		}
		s.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		if len(enforcer.open) != 0 || enforcer.closed {
			t.Errorf("open %v, shut %v", enforcer.open, enforcer.closed)
		}
		s.mu.Unlock()
	})
}
