package gate

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/wire"
)

// proving is an enforcer whose connections must prove themselves.
type proving struct{ *recorded }

func (proving) setLeases(prove.Leases) bool { return true }

func (proving) cutProved(func(wire.Identifier) bool, prove.Leases) {}

// anyAddress is a command for any address.
func anyAddress(s *Service, id string, a Action) Command {
	return Command{Service: s.ID(), Grant: sessions.Grant{Identifier: wire.Identifier([]byte(id))}, AnyAddress: true, Action: a, Operation: "op"}
}

// TestAnyAddressIsRefused where connections do not prove themselves, and without a trace.
func TestAnyAddressIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Service){
		"no proof":          func(*Service) {},
		"a number":          func(s *Service) { s.requireISN = true },
		"a number, and one": func(s *Service) { s.requireISN, s.proves = true, true },
		"a port that rotates": func(s *Service) {
			s.proves, s.rotation = true, new(Rotating)
		},
	} {
		r := &recorded{}
		s := serviceOf("web", 128, r)
		change(s)
		gate, err := NewServices([]*Service{s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []Command{anyAddress(s, "com1", Open), {Service: s.ID(), Grant: grant("com1", "192.0.2.1"), AnyAddress: true}, {Service: s.ID(), AnyAddress: false}} {
			if err := gate.Execute(c); err == nil {
				t.Errorf("%s: %+v is accepted", name, c)
			}
			if errs := gate.ExecuteAll([]Command{c}); errs == nil || errs[0] == nil {
				t.Errorf("%s: %+v is accepted in a batch", name, c)
			}
		}
		err = gate.Execute(anyAddress(s, "com1", Close))
		if err != nil || len(r.open) != 0 || s.leases.Len() != 0 || r.calls != 0 {
			t.Errorf("%s: %v, lets in %v", name, err, r.open)
		}
	}
	both := anyAddress(serviceOf("web", 128, &recorded{}), "com1", Open)
	both.Grant = grant("com1", "192.0.2.1")
	if serviceOf("web", 128, proving{&recorded{}}).Execute(both) == nil {
		t.Error("for any address, and for one")
	}
	p := anyAddress(serviceOf("web", 128, &recorded{}), "com1", Open)
	if p.Port = 4711; serviceOf("web", 128, proving{&recorded{}}).Execute(p) == nil {
		t.Error("a random port, where no connection could prove itself")
	}
}

// TestAnyAddressIsDisplaced: it is one of the client's addresses. Nothing is cut for its
// address.
func TestAnyAddressIsDisplaced(t *testing.T) {
	r := &recorded{}
	s := serviceOf("web", 128, proving{r})
	s.terms.Cut = true
	s.leases.SetTerms(10*time.Second, time.Minute, 1)
	s.Execute(anyAddress(s, "com1", Open))
	if err := s.Open(grant("com1", "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if len(r.open) != 1 || !r.has("192.0.2.1") || len(r.cut) != 0 || len(r.soon) != 2 {
		t.Errorf("lets in %v, has cut %v, soon %v", r.open, r.cut, r.soon)
	}
	s.Execute(anyAddress(s, "com1", Open))
	if len(r.open) != 2 || r.has("192.0.2.1") {
		t.Errorf("lets in %v", r.open)
	}
}

// TestAnyAddressInTheLog: no line and no entry of the list has an address.
func TestAnyAddressInTheLog(t *testing.T) {
	var log bytes.Buffer
	r := &recorded{}
	s := serviceOf("web", 128, proving{r})
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.Execute(anyAddress(s, "com1", Open))
	s.Execute(anyAddress(s, "com1", Open)) // extends
	list := s.appendLeases(nil)
	if len(list) != 1 || list[0].Peer != access.AnyAddress || list[0].Address.IsValid() || list[0].Operation != "op" {
		t.Errorf("%+v", list)
	}
	if list[0].Peer.String() != "any address" {
		t.Error(list[0].Peer)
	}
	s.Execute(anyAddress(s, "com1", Close))
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !strings.Contains(line, `address="any address"`) {
			t.Error(line)
		}
	}
}

// TestKeptForAnyAddress: a lease without an end is renewed, and closed.
func TestKeptForAnyAddress(t *testing.T) {
	r := &recorded{}
	s := serviceOf("web", 128, proving{r})
	now := epoch
	s.clock.Boot = func() time.Time { return now }
	c := anyAddress(s, "com1", Open)
	c.UntilClosed = true
	if err := s.Execute(c); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		now = now.Add(20 * time.Second)
		s.sweep()
		for _, p := range access.AnyAddress.Admitted() {
			if !r.open[p].After(now) {
				t.Fatalf("not renewed: %v", r.open)
			}
		}
	}
	var gone []access.Peer
	s.keptEnded = func(_ wire.Identifier, p access.Peer) { gone = append(gone, p) }
	s.Execute(anyAddress(s, "com1", Close))
	if len(r.open) != 0 || len(gone) != 1 || gone[0] != access.AnyAddress {
		t.Errorf("lets in %v, ended %v", r.open, gone)
	}
}

// TestAnyAddressWaits: an obstacle excludes every address, and its end admits them.
func TestAnyAddressWaits(t *testing.T) {
	r := &recorded{}
	s := serviceOf("web", 128, proving{r})
	if err := s.Execute(anyAddress(s, "com1", Open)); err != nil || len(r.open) != 2 {
		t.Fatalf("%v, lets in %v", err, r.open)
	}
	s.setObstacle(portUnbound, errors.New("taken"))
	if len(r.open) != 0 {
		t.Errorf("with an obstacle: %v", r.open)
	}
	s.setObstacle(portUnbound, nil)
	if len(r.open) != 2 {
		t.Errorf("afterwards: %v", r.open)
	}
}

// TestAnyAddressMatchesLeases: whatever clients do, the enforcer admits every address
// exactly as long as a lease for any address lasts, and other peers as their leases do. No
// connection is cut for its address, which every connection has.
func TestAnyAddressMatchesLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, now := &recorded{}, epoch
		s := serviceOf("web", 128, proving{r})
		s.clock.Boot = func() time.Time { return now }
		s.terms = LeasePolicy{OpenFor: 10 * time.Second, OpenMax: 30 * time.Second, Addresses: 2, Cut: true}
		s.leases.SetTerms(10*time.Second, 30*time.Second, 2)
		gate, err := NewServices([]*Service{s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := func() string { return fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client")) }
		address := func() string { return fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(t, "address")) }
		failed := false
		t.Repeat(map[string]func(*rapid.T){
			"open": func(*rapid.T) { gate.Open([]sessions.Grant{grant(client(), address())}) },
			"open to any": func(*rapid.T) {
				if err := gate.Execute(anyAddress(s, client(), Open)); (err != nil) != (r.fail != nil) {
					t.Fatal(err)
				}
			},
			"close": func(*rapid.T) {
				gate.Execute(Command{Service: s.ID(), Grant: grant(client(), address()), Action: Close})
			},
			"close any": func(*rapid.T) { gate.ExecuteAll([]Command{anyAddress(s, client(), Close)}) },
			"keep": func(*rapid.T) {
				c := anyAddress(s, client(), Open)
				c.UntilClosed = true
				gate.Execute(c)
			},
			"revoke": func(*rapid.T) {
				id := wire.Identifier([]byte(client()))
				gate.Revoke(func(other wire.Identifier) bool { return other == id }, Revoked)
			},
			"displace": func(*rapid.T) {
				gate.Displace(s.ID(), wire.Identifier([]byte(client())), access.AnyAddress)
			},
			"end by the administrator": func(*rapid.T) {
				gate.EndLeases(func(l Lease) bool { return l.Peer == access.AnyAddress }, true, ByAdministrator)
			},
			"a failing enforcer": func(*rapid.T) {
				broken := rapid.SampledFrom(access.AnyAddress.Admitted()).Draw(t, "broken")
				r.fail, r.fails, failed = errors.New("no"), func(p access.Peer) bool { return p == broken }, true
			},
			"a sound one": func(*rapid.T) { r.fail = nil },
			"time passes": func(*rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "s")) * time.Second) },
			"run's check": func(*rapid.T) { s.sweep() },
		})
		s.sweep()
		want := map[access.Peer]time.Time{}
		for _, le := range s.leases.byEnd {
			for _, p := range le.peer.Admitted() {
				want[p] = later(want[p], le.until)
			}
		}
		for p, until := range r.open {
			if w, ok := want[p]; !ok || until.After(w) {
				t.Fatalf("lets in %s until %v, and has %v", p, until, w)
			}
		}
		for p, until := range want {
			if !failed && !r.open[p].Equal(until) {
				t.Fatalf("lets in %v, want %v", r.open, want)
			}
		}
		for _, p := range r.cut {
			if p.IsAnyone() {
				t.Fatal("cuts every address")
			}
		}
		gate.EndAll()
		if len(r.open) != 0 || s.leases.Len() != 0 {
			t.Fatalf("left %v", r.open)
		}
	})
}

// TestAnyAddressAtAnEnforcer: a Set does not admit it, but the two peers of anyone.
func TestAnyAddressAtAnEnforcer(t *testing.T) {
	var set access.Set
	now := time.Now()
	set.Put(access.AnyAddress, now.Add(time.Hour))
	for _, a := range []string{"192.0.2.1", "2001:db8::1", "::", "fe80::1%3"} {
		from := netip.MustParseAddr(a)
		if set.Allows(from, now) || !access.AnyAddress.Has(from) {
			t.Errorf("%s at a set: %t", a, set.Allows(from, now))
		}
	}
	for _, p := range access.AnyAddress.Admitted() {
		set.Put(p, now.Add(time.Hour))
	}
	for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
		if !set.Allows(netip.MustParseAddr(a), now) {
			t.Errorf("%s is not admitted", a)
		}
	}
	if access.AnyAddress.IsValid() || access.AnyAddress.IsAnyone() || access.AnyAddress.Has(netip.Addr{}) {
		t.Error("is a peer of enforcers")
	}
}

// TestAnyAddressWhenTheAudienceChanges: while the policy changes to anyone and back, with
// success or not, every address is admitted as long as some lease admits it.
func TestAnyAddressWhenTheAudienceChanges(t *testing.T) {
	for _, fails := range []bool{false, true} {
		r := &recorded{}
		s := serviceOf("web", 128, proving{r})
		gate, err := NewServices([]*Service{s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		gate.Execute(anyAddress(s, "com1", Open))
		short := s.until(access.Anyone6)
		c := Command{Service: s.ID(), Grant: grant("com2", "192.0.2.1"), For: 50 * time.Second}
		if err := gate.Execute(c); err != nil {
			t.Fatal(err)
		}
		long := s.leases.Last()
		expect := func(when string, anyone time.Time, host bool) {
			t.Helper()
			if !r.open[access.Anyone4].Equal(anyone) || !r.open[access.Anyone6].Equal(anyone) || r.has("192.0.2.1") != host || len(r.cut) > 1 {
				t.Errorf("%s: lets in %v, has cut %v", when, r.open, r.cut)
			}
		}
		expect("before", short, true)
		toAnyone := s.terms
		toAnyone.Anyone = true
		if r.fail = nil; fails {
			failures := 0
			r.fail, r.fails = errors.New("no"), func(access.Peer) bool { failures++; return failures == 1 }
		}
		if err := s.prepare(toAnyone); (err != nil) != fails {
			t.Fatal(err)
		}
		if fails {
			expect("after a failure", short, true)
			r.fail = nil
			continue
		}
		expect("prepared", long, true)
		s.abort()
		expect("aborted", short, true)
		s.update(t, toAnyone, anyClient)
		expect("to anyone", long, false)
		back := toAnyone
		back.Anyone = false
		s.update(t, back, anyClient)
		expect("back", short, true)
	}
}
