package gate

import (
	"errors"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// TestUpdateFails: a failed update changes nothing, whatever its fault and
// wherever it fails: neither admitted peers, nor times, nor rights.
func TestUpdateFails(t *testing.T) {
	terms := func(anyone bool) LeasePolicy {
		return LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Anyone: anyone, Addresses: 8, Cut: true}
	}
	refused := errors.New("no")
	for _, anyone := range []bool{false, true} {
		for name, row := range map[string]struct {
			change func(u *Update)
			fails  func(place, enforcer int) bool // of changes that admit peers of the new policy
			some   bool                           // of that only a part
		}{
			"no terms":   {change: func(u *Update) { delete(u.Policies, access.ID("ssh")) }},
			"no clients": {change: func(u *Update) { u.IsClient = nil }},
			"a right to what is not there": {change: func(u *Update) {
				u.Restricted = restrict(map[wire.Identifier][]string{client(1): {"mail"}})
			}},
			"the first service, first enforcer":   {fails: func(place, enforcer int) bool { return place == 0 && enforcer == 0 }},
			"the first service, second enforcer":  {fails: func(place, enforcer int) bool { return place == 0 && enforcer == 1 }},
			"the second service, first enforcer":  {fails: func(place, enforcer int) bool { return place == 1 && enforcer == 0 }},
			"the second service, second enforcer": {fails: func(place, enforcer int) bool { return place == 1 && enforcer == 1 }},
			"some of them at the first service":   {fails: func(place, enforcer int) bool { return place == 0 && enforcer == 1 }, some: true},
			"some of them at the second service":  {fails: func(place, enforcer int) bool { return place == 1 && enforcer == 0 }, some: true},
		} {
			enforcers := [2][2]*recorded{{{}, {}}, {{}, {}}}
			var list []*Service
			for i, name := range []string{"web", "ssh"} {
				list = append(list, serviceOf(name, 128, enforcers[i][0], enforcers[i][1]))
				list[i].update(t, terms(anyone), anyClient)
			}
			s, err := NewServices(list, restrict(map[wire.Identifier][]string{client(3): {"ssh"}}))
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range [][2]string{{"com1", "192.0.2.1"}, {"com2", "192.0.2.2"}, {"com3", "192.0.2.3"}} {
				if err := s.openOne(grant(g[0], g[1])); err != nil {
					t.Fatal(err)
				}
			}
			before := [2][2]map[access.Peer]time.Time{}
			for i := range enforcers {
				for j, r := range enforcers[i] {
					before[i][j] = map[access.Peer]time.Time{}
					for p, until := range r.open {
						before[i][j][p] = until
					}
					if row.fails != nil && row.fails(i, j) {
						r.fail, r.fails = refused, func(p access.Peer) bool {
							return p.IsAnyone() != anyone && (!row.some || p == access.Anyone6 || p == peer("192.0.2.2"))
						}
					}
				}
			}
			u := Update{Policies: map[access.ServiceID]LeasePolicy{}, IsClient: func(id wire.Identifier) bool { return id != client(1) }}
			for _, service := range list {
				u.Policies[service.ID()] = terms(!anyone)
			}
			if row.change != nil {
				row.change(&u)
			}
			p, err := s.Prepare(u)
			if err == nil || p != nil || row.fails != nil && !errors.Is(err, refused) {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range enforcers {
				for j, r := range enforcers[i] {
					if len(r.open) != len(before[i][j]) {
						t.Errorf("%s, anyone %v: service %d lets in %v, and before %v", name, anyone, i, r.open, before[i][j])
					}
					for p, until := range before[i][j] {
						if !r.open[p].Equal(until) {
							t.Errorf("%s, anyone %v: service %d lets in %v, and before %v", name, anyone, i, r.open, before[i][j])
						}
					}
				}
			}
			if got := s.Names(client(3)); len(got) != 1 || list[0].terms != terms(anyone) || list[0].leases.Len() != 2 {
				t.Errorf("%s: %v may be opened, terms %+v, %d leases", name, got, list[0].terms, list[0].leases.Len())
			}
			// Later grants follow the old policy.
			if err := s.openOne(grant("com4", "192.0.2.4")); err != nil || enforcers[0][1].has("192.0.2.4") == anyone {
				t.Errorf("%s, anyone %v: afterwards %v: %v", name, anyone, enforcers[0][1].open, err)
			}
		}
	}
}

// TestGrantsDuringUpdate: grants follow both policies until the decision, and
// then the policy in force.
func TestGrantsDuringUpdate(t *testing.T) {
	for _, anyone := range []bool{false, true} {
		for _, commit := range []bool{false, true} {
			var enforcer recorded
			one := serviceOf("web", 128, &enforcer)
			terms := LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Anyone: anyone, Addresses: 8, Cut: true}
			one.update(t, terms, anyClient)
			s, err := NewServices([]*Service{one}, nil)
			if err != nil {
				t.Fatal(err)
			}
			terms.Anyone = !anyone
			p := s.prepare(t, nil, anyClient, map[access.ServiceID]LeasePolicy{one.ID(): terms})
			if err := s.openOne(grant("com1", "192.0.2.1")); err != nil || len(enforcer.open) != 3 {
				t.Errorf("anyone %v: meanwhile %v: %v", anyone, enforcer.open, err)
			}
			if commit {
				p.Restrict()
				p.Commit()
			}
			p.Abort()
			in := anyone != commit // to anyone
			if _, open := enforcer.open[access.Anyone6]; open != in || enforcer.has("192.0.2.1") == in {
				t.Errorf("anyone %v, committed %v: %v", anyone, commit, enforcer.open)
			}
			if s.openOne(grant("com2", "192.0.2.2")); enforcer.has("192.0.2.2") == in {
				t.Errorf("anyone %v, committed %v: afterwards %v", anyone, commit, enforcer.open)
			}
			one.commit(terms, func(wire.Identifier) bool { return false }, Update{}.why)
			if len(enforcer.open) != 0 {
				t.Errorf("anyone %v, committed %v: left %v", anyone, commit, enforcer.open)
			}
		}
	}
}

// TestPrepareAfterClose: Prepare fails after Close.
func TestPrepareAfterClose(t *testing.T) {
	one := serviceOf("web", 128, &recorded{})
	one.close()
	s, err := NewServices([]*Service{one}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(Update{Policies: s.terms(), IsClient: anyClient}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}
