package gate

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

var epoch = time.Unix(1_800_000_000, 0)

func grant(id, address string) sessions.Grant {
	return sessions.Grant{Identifier: wire.Identifier([]byte(id)), Address: netip.MustParseAddr(address)}
}

func TestLeaseAddsUpToItsMaximum(t *testing.T) {
	l := NewLeases(10*time.Second, 25*time.Second)
	g := grant("com1", "192.0.2.1")
	for i, want := range []time.Duration{10, 20, 25, 25} {
		until, fresh := l.Add(g, epoch)
		if until.Sub(epoch) != want*time.Second || fresh != (i == 0) {
			t.Errorf("grant %d: until %v, fresh %v", i, until.Sub(epoch), fresh)
		}
	}
	if !l.Allows(g.Address, epoch.Add(25*time.Second-1)) || l.Allows(g.Address, epoch.Add(25*time.Second)) {
		t.Error("the lease does not end at its end")
	}
	// Over but not yet forgotten, it begins anew.
	if until, fresh := l.Add(g, epoch.Add(time.Minute)); until.Sub(epoch) != 70*time.Second || !fresh {
		t.Errorf("begun anew: until %v, fresh %v", until.Sub(epoch), fresh)
	}
}

func TestOneAddressTooMany(t *testing.T) {
	l := NewLeases(10*time.Second, time.Minute)
	address := func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }
	for i := range maxAddresses {
		l.Add(grant("com1", address(i)), epoch.Add(time.Duration(i)))
	}
	l.Add(grant("com2", address(0)), epoch)
	l.Add(grant("com1", address(0)), epoch) // no longer the first to end
	l.Add(grant("com1", "2001:db8::1"), epoch.Add(time.Second))
	if l.Len() != maxAddresses+1 {
		t.Errorf("%d leases", l.Len())
	}
	now := epoch.Add(2 * time.Second)
	for i := range maxAddresses {
		if got := l.Allows(netip.MustParseAddr(address(i)), now); got != (i != 1) {
			t.Errorf("%s allowed: %v", address(i), got)
		}
	}
}

// TestLeasesAgainstModel: an address is allowed exactly while a grant that
// was not displaced covers it, and nothing is kept of what is over.
func TestLeasesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		openFor := time.Duration(rapid.IntRange(1, 10).Draw(t, "for"))
		openMax := openFor + time.Duration(rapid.IntRange(0, 20).Draw(t, "max"))
		l := NewLeases(openFor, openMax)
		model := map[sessions.Grant]time.Time{}
		now := epoch
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "pass")))
			if rapid.Bool().Draw(t, "expire") {
				l.Expire(now)
				for g, until := range model {
					if !now.Before(until) {
						delete(model, g)
					}
				}
				if l.Len() != len(model) {
					t.Fatalf("%d leases, want %d", l.Len(), len(model))
				}
			} else {
				g := grant(fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client")), fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(t, "address")))
				l.Add(g, now)
				until := model[g]
				if until.Before(now) {
					until = now
				}
				model[g] = earlier(until.Add(openFor), now.Add(openMax))
			}
			var next time.Time
			for _, until := range model {
				if next.IsZero() || until.Before(next) {
					next = until
				}
			}
			if got, ok := l.Next(); ok != (len(model) > 0) || ok && !got.Equal(next) {
				t.Fatalf("next %v, want %v", got, next)
			}
			any := false
			for i := 1; i <= 3; i++ {
				a := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))
				want := false
				for g, until := range model {
					want = want || g.Address == a && now.Before(until)
				}
				any = any || want
				if l.Allows(a, now) != want {
					t.Fatalf("%s allowed: %v", a, !want)
				}
			}
			if l.Any(now) != any {
				t.Fatalf("any: %v", !any)
			}
		}
		l.Expire(now.Add(time.Hour))
		if l.Len() != 0 || len(l.byAddress) != 0 || len(l.byClient) != 0 {
			t.Fatalf("something is left: %+v", l)
		}
	})
}
