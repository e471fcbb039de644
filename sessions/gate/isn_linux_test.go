package gate

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

func numbered(id, address string, n wire.ISN) sessions.Grant {
	g := grant(id, address)
	g.ISN = n
	return g
}

func numberedPeer(address string, n wire.ISN) access.Peer {
	p := peer(address)
	p.ISN = n
	return p
}

// newISNService returns a service that requires initial sequence numbers, with a clock
// that the caller moves.
func newISNService(now *time.Time, addresses int) (*Service, *fakeFirewall) {
	at := func() time.Time { return *now }
	wall := &fakeFirewall{in: map[access.Peer]bool{}}
	return NewService(ServiceConfig{
		Name: "ssh", PrefixLen6: 128, RequireISN: true, Enforcers: []access.Enforcer{wall},
		Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: addresses},
		Clock:  clock.Clock{Wall: at, Monotonic: at, Boot: at}, Log: slog.New(slog.DiscardHandler),
	}), wall
}

// TestISNLeases: each attempt has its own lease; a close, a revocation and a
// displacement end all of a client's at an address, and not another client's.
func TestISNLeases(t *testing.T) {
	now := epoch
	s, wall := newISNService(&now, 8)
	open := func(g sessions.Grant) {
		t.Helper()
		if err := s.Open(g); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, want ...access.Peer) {
		t.Helper()
		got := map[access.Peer]bool{}
		for _, p := range want {
			got[p] = true
		}
		if !maps.Equal(wall.in, got) {
			t.Errorf("%s: %v, want %v", when, wall.in, got)
		}
	}
	for _, g := range []sessions.Grant{grant("com1", "192.0.2.1"), {Identifier: client(1), ISN: 7}} {
		if s.Open(g) == nil {
			t.Errorf("%+v opened a service that requires a number and an address", g)
		}
	}
	open(numbered("com1", "192.0.2.1", 1))
	now = now.Add(6 * time.Second)
	open(numbered("com1", "192.0.2.1", 2)) // extends nothing
	open(numbered("com2", "192.0.2.1", 3))
	open(numbered("com1", "192.0.2.2", 4))
	all := []access.Peer{numberedPeer("192.0.2.1", 2), numberedPeer("192.0.2.1", 3), numberedPeer("192.0.2.2", 4)}
	expect("two clients", append(all, numberedPeer("192.0.2.1", 1))...)
	now = now.Add(5 * time.Second)
	s.sweep()
	expect("after the first lease", all...)
	open(numbered("com1", "192.0.2.1", 5))
	if err := s.Execute(Command{Service: s.ID(), Grant: numbered("com1", "192.0.2.1", 6), Action: Close}); err != nil {
		t.Fatal(err)
	}
	expect("after a close", numberedPeer("192.0.2.1", 3), numberedPeer("192.0.2.2", 4))
	services, err := NewServices([]*Service{s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	open(numbered("com2", "192.0.2.1", 8))
	services.Displace(s.ID(), client(2), peer("192.0.2.1"))
	expect("after a displacement", numberedPeer("192.0.2.2", 4))
	services.Revoke(func(id wire.Identifier) bool { return id == client(1) }, Revoked)
	expect("after a revocation")
	if err := s.Execute(Command{Service: s.ID(), Grant: numbered("com1", "192.0.2.1", 9), Port: 3000}); err == nil {
		t.Error("opened a random port, which compares no number")
	}
}

// TestISNLeasesAreBounded: whatever grants come, a client has at most so many leases,
// and the firewall has exactly the numbers of the leases in force.
func TestISNLeasesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := epoch
		most := rapid.IntRange(1, 3).Draw(t, "addresses")
		s, wall := newISNService(&now, most)
		ends := map[string]map[access.Peer]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "pass")) * time.Second)
			s.sweep()
			id := fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client"))
			address := fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 2).Draw(t, "address"))
			n := wire.ISN(rapid.Uint32Range(1, 6).Draw(t, "number"))
			for _, of := range ends {
				maps.DeleteFunc(of, func(_ access.Peer, end time.Time) bool { return !now.Before(end) })
			}
			if ends[id] == nil {
				ends[id] = map[access.Peer]time.Time{}
			}
			own, p := ends[id], numberedPeer(address, n)
			if rapid.IntRange(0, 5).Draw(t, "what") == 0 {
				shut := Command{Service: s.ID(), Grant: numbered(id, address, n), Action: Close}
				if err := s.Execute(shut); err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(own, func(other access.Peer, _ time.Time) bool { return other.AnyISN() == p.AnyISN() })
			} else {
				if err := s.Open(numbered(id, address, n)); err != nil {
					t.Fatal(err)
				}
				from := now
				if end, ok := own[p]; ok {
					from = end // a retransmitted grant
				}
				own[p] = earlier(from.Add(10*time.Second), now.Add(time.Minute))
			}
			// Which lease is displaced is not this model's affair.
			if len(own) > most {
				held := map[access.Peer]bool{}
				for _, le := range s.leases.byClient[wire.Identifier([]byte(id))] {
					held[le.peer] = true
				}
				if len(held) != most {
					t.Fatalf("%d leases, want %d", len(held), most)
				}
				maps.DeleteFunc(own, func(p access.Peer, _ time.Time) bool { return !held[p] })
			}
			want := map[access.Peer]bool{}
			for _, of := range ends {
				for p := range of {
					want[p] = true
				}
			}
			if !maps.Equal(wall.in, want) {
				t.Fatalf("the firewall has %v, want %v", slices.Collect(maps.Keys(wall.in)), slices.Collect(maps.Keys(want)))
			}
		}
		for id, past := range s.leases.past {
			for _, p := range past {
				if p.ISN != 0 {
					t.Fatalf("%s: a past lease has the number %d, and connections show none", id, p.ISN)
				}
			}
		}
	})
}
