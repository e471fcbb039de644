package gate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

var epoch = time.Unix(1_800_000_000, 0)

func grant(id, address string) sessions.Grant {
	return sessions.Grant{Identifier: wire.Identifier([]byte(id)), Address: netip.MustParseAddr(address)}
}

// peer returns the peer that a lease of an address admits.
func peer(a string) access.Peer { return access.PeerOf(netip.MustParseAddr(a), access.PrefixHost) }

func client(i int) wire.Identifier { return wire.Identifier([]byte(fmt.Sprintf("com%d", i))) }

func TestLeaseAddsUpToItsMaximum(t *testing.T) {
	l := NewLeases(10*time.Second, 25*time.Second, 8)
	id, a := client(1), peer("192.0.2.1")
	for i, want := range []time.Duration{10, 20, 25, 25} {
		until, fresh := l.Until(id, a, epoch, 0)
		if until.Sub(epoch) != want*time.Second || fresh != (i == 0) {
			t.Errorf("grant %d: until %v, fresh %v", i, until.Sub(epoch), fresh)
		}
		l.Add(id, a, epoch, 0)
		if latest := l.Latest(a); !latest.Equal(until) {
			t.Errorf("grant %d: added until %v", i, latest.Sub(epoch))
		}
	}
	// A lease that has ended, and is not yet removed, begins again.
	if until, fresh := l.Until(id, a, epoch.Add(time.Minute), 0); until.Sub(epoch) != 70*time.Second || !fresh {
		t.Errorf("begun again: until %v, fresh %v", until.Sub(epoch), fresh)
	}
}

func TestLeaseForAFixedTime(t *testing.T) {
	l := NewLeases(10*time.Second, 25*time.Second, 8)
	id, a := client(1), peer("192.0.2.1")
	for i, step := range []struct{ at, fixed, want time.Duration }{
		{0, 5, 5},    // less than a grant adds
		{1, 20, 21},  // from now on, not from its end
		{2, 3, 21},   // not shorter
		{2, 40, 27},  // not beyond the maximum
		{20, 0, 37},  // a grant adds to it
		{50, 10, 60}, // newSocket
	} {
		now := epoch.Add(step.at * time.Second)
		until, fresh := l.Until(id, a, now, step.fixed*time.Second)
		if l.Add(id, a, now, step.fixed*time.Second); until.Sub(epoch) != step.want*time.Second || fresh != (i == 0 || i == 5) {
			t.Errorf("step %d: until %v, fresh %v", i, until.Sub(epoch), fresh)
		}
		if latest := l.Latest(a); !latest.Equal(until) {
			t.Errorf("step %d: added until %v", i, latest.Sub(epoch))
		}
	}
	// A reduced maximum does not shorten it either.
	l.SetTerms(time.Second, time.Second, 8)
	if until, _ := l.Until(id, a, epoch.Add(51*time.Second), time.Second); until.Sub(epoch) != time.Minute {
		t.Errorf("with less of a maximum: until %v", until.Sub(epoch))
	}
}

func TestOneAddressTooMany(t *testing.T) {
	const most = 5
	l := NewLeases(10*time.Second, time.Minute, most)
	address := func(i int) access.Peer { return peer(fmt.Sprintf("192.0.2.%d", i)) }
	for i := range most {
		l.Add(client(1), address(i), epoch.Add(time.Duration(i)), 0)
	}
	l.Add(client(2), address(0), epoch, 0)
	l.Add(client(1), address(0), epoch, 0) // no longer the first to end
	another := peer("2001:db8::1")
	if gone := l.Displaced(client(1), another); len(gone) != 1 || gone[0] != address(1) {
		t.Errorf("gives way: %v", gone)
	}
	l.Add(client(1), another, epoch.Add(time.Second), 0)
	if l.Len() != most+1 {
		t.Errorf("%d leases", l.Len())
	}
	for i := range most {
		if got := !l.Latest(address(i)).IsZero(); got != (i != 1) {
			t.Errorf("%s has a lease: %v", address(i), got)
		}
	}
	// With fewer addresses allowed, several leases end.
	l.SetTerms(time.Second, time.Second, 2)
	if gone := l.Displaced(client(1), address(9)); len(gone) != most-1 {
		t.Errorf("gives way to smaller terms: %v", gone)
	}
	if l.Add(client(1), address(9), epoch.Add(time.Second), 0); l.Len() != 3 {
		t.Errorf("%d leases by smaller terms", l.Len())
	}
}

// TestLeasesAgainstModel: an address has a lease exactly while a grant covers
// it that was neither displaced nor revoked, and Leases keeps nothing of ended
// ones.
func TestLeasesAgainstModel(t *testing.T) {
	type key struct {
		client wire.Identifier
		peer   access.Peer
	}
	draw := func(t *rapid.T) key {
		return key{client(rapid.IntRange(1, 3).Draw(t, "client")), peer(fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 5).Draw(t, "address")))}
	}
	rapid.Check(t, func(t *rapid.T) {
		openFor := time.Duration(rapid.IntRange(1, 10).Draw(t, "for"))
		openMax := openFor + time.Duration(rapid.IntRange(0, 20).Draw(t, "max"))
		most := rapid.IntRange(1, 4).Draw(t, "addresses")
		l := NewLeases(openFor, openMax, most)
		model := map[key]time.Time{}
		now := epoch
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "pass")))
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				over, _ := l.Expire(now)
				left := map[access.Peer]bool{}
				for k, until := range model {
					left[k.peer] = left[k.peer] || now.Before(until)
				}
				for k, until := range model {
					if slices.Contains(over, k.peer) == left[k.peer] {
						t.Fatalf("%s has a lease: %v; over: %v", k.peer, left[k.peer], over)
					}
					if !now.Before(until) {
						delete(model, k)
					}
				}
			case 1:
				stays := client(rapid.IntRange(1, 3).Draw(t, "stays"))
				l.RevokeExcept(func(id wire.Identifier) bool { return id == stays })
				maps.DeleteFunc(model, func(k key, _ time.Time) bool { return k.client != stays })
			case 2:
				k := draw(t)
				if _, held := model[k]; l.Remove(k.client, k.peer) != held {
					t.Fatalf("%v has a lease to remove: %v", k, !held)
				}
				delete(model, k)
			default:
				k := draw(t)
				fixed := time.Duration(rapid.IntRange(0, 40).Draw(t, "fixed"))
				gone := l.Displaced(k.client, k.peer)
				undo := l.Add(k.client, k.peer, now, fixed)
				if rapid.IntRange(0, 3).Draw(t, "undo") == 0 {
					undo()
					break
				}
				for _, p := range gone {
					delete(model, key{k.client, p})
				}
				until := model[k]
				if until.Before(now) {
					until = now
				}
				if fixed == 0 {
					model[k] = earlier(until.Add(openFor), now.Add(openMax))
				} else if model[k] = now.Add(min(fixed, openMax)); model[k].Before(until) {
					model[k] = until
				}
				held := 0
				for other := range model {
					if other.client == k.client {
						held++
					}
				}
				if held > most {
					t.Fatalf("a client has %d addresses", held)
				}
			}
			if l.Len() != len(model) {
				t.Fatalf("%d leases, want %d", l.Len(), len(model))
			}
			var next time.Time
			var last time.Time
			latest := map[access.Peer]time.Time{}
			for k, until := range model {
				last = later(last, until)
				if next.IsZero() || until.Before(next) {
					next = until
				}
				if until.After(latest[k.peer]) {
					latest[k.peer] = until
				}
			}
			if got, ok := l.Next(); ok != (len(model) > 0) || ok && !got.Equal(next) {
				t.Fatalf("next %v, want %v", got, next)
			}
			if peers := l.Peers(); len(peers) != len(latest) {
				t.Fatalf("peers %v, want %v", peers, latest)
			}
			for p, until := range latest {
				if got := l.Latest(p); !got.Equal(until) {
					t.Fatalf("latest of %s %v, want %v", p, got, until)
				}
			}
			if got := l.Last(); !got.Equal(last) {
				t.Fatalf("last %v, want %v", got, last)
			}
		}
		l.Expire(now.Add(time.Hour))
		for id, addresses := range l.past {
			if len(addresses) > most {
				t.Fatalf("%d addresses of client %s are remembered", len(addresses), id)
			}
		}
		l.RevokeExcept(func(wire.Identifier) bool { return false })
		if len(l.past) != 0 || l.Len() != 0 || len(l.byPeer) != 0 || len(l.byClient) != 0 {
			t.Fatalf("something is left: %+v", l)
		}
	})
}

// TestRevokedLater: when a client is revoked after its lease, its former
// addresses are still known.
func TestRevokedLater(t *testing.T) {
	l := NewLeases(time.Second, time.Second, 2)
	address := func(i int) access.Peer { return peer(fmt.Sprintf("192.0.2.%d", i)) }
	for i := range 4 {
		l.Add(client(1), address(i), epoch.Add(time.Duration(i)), 0)
	}
	l.Add(client(2), address(9), epoch, 0)
	l.Remove(client(1), address(2)) // by its client: as it ends by itself
	l.Expire(epoch.Add(time.Minute))
	l.Add(client(1), address(3), epoch.Add(time.Minute), 0)
	stays := func(id wire.Identifier) bool { return id == client(2) }
	got, _ := l.RevokeExcept(stays)
	if !slices.Contains(got, address(3)) || !slices.Contains(got, address(2)) || slices.Contains(got, address(9)) {
		t.Errorf("revoked: %v", got)
	}
	if got, _ := l.RevokeExcept(stays); len(got) != 0 {
		t.Errorf("a second time: %v", got)
	}
}
