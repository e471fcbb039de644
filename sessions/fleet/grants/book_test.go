package grants

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// signed returns an authentic attempt, and its value without datagrams.
func signed(t verifytest.TB, table *verify.KeyTable, base uint32, stamp time.Time, a netip.Addr, closes bool, end time.Time) (value, verify.Attempt) {
	t.Helper()
	id := verifytest.ID("com1")
	text, ok := table.AppendAttempt(nil, id, verifytest.Fingerprint(id), base, uint32(stamp.Unix()), 1, closes, stamp.Unix())
	if !ok {
		t.Fatalf("base %d: no datagrams", base)
	}
	made, reason := table.Attempt(text, 1, stamp.Unix())
	if reason != verify.Authentic {
		t.Fatalf("base %d: %s", base, reason)
	}
	return value{closes: closes, address: a, end: end}, made
}

// stamps are the timestamps with which a client has signed bases: each once, and a higher
// one never earlier.
type stamps map[uint32]time.Time

func (s stamps) sign(base uint32, stamp time.Time) time.Time {
	if was, again := s[base]; again {
		return was
	}
	for other, at := range s {
		if other < base && at.After(stamp) || other > base && at.Before(stamp) {
			stamp = at
		}
	}
	s[base] = stamp
	return stamp
}

// TestBook compares the book with a model: an attempt opens at most once, in the order of
// bases, and never after its end or the end by its timestamp. A new one that has time left
// always opens.
func TestBook(t *testing.T) {
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	l := limits{tolerance: 30 * time.Second, longest: time.Minute}
	addresses := map[slot][]netip.Addr{
		ipv4: {alice, netip.MustParseAddr("192.0.2.99")}, ipv6: {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
		closing: {{}},
	}
	rapid.Check(t, func(t *rapid.T) {
		b := newBook()
		now := time.Unix(1_700_000_000, 0)
		var highest [2]int64   // that opened, by family
		var from [2]netip.Addr // for which address
		var closed int64
		type grant struct {
			base int64
			ends time.Time
		}
		stamps := stamps{}
		keys := map[grantKey]map[netip.Addr]grant{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			gateway := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "gateway")
			at := rapid.SampledFrom([]slot{ipv4, ipv6, closing}).Draw(t, "slot")
			k := grantKey{gateway, verifytest.ID("com1"), at}
			base := rapid.Uint32Range(0, 8).Draw(t, "base")
			order := int64(base) + 1
			address := rapid.SampledFrom(addresses[at]).Draw(t, "address")
			switch rapid.SampledFrom([]string{"put", "put", "put", "remove", "local", "wait"}).Draw(t, "step") {
			case "put":
				stamp := stamps.sign(base, now.Add(time.Duration(rapid.IntRange(-100, 70).Draw(t, "stamp"))*time.Second))
				end := now.Add(time.Duration(rapid.IntRange(-10, 100).Draw(t, "end")) * time.Second)
				if at == closing {
					address = alice
				}
				v, a := signed(t, table, base, stamp, address, at == closing, end)
				got := b.consider(v, a, l, now)
				ends := stamp.Add(l.tolerance + l.longest)
				if end.Before(ends) {
					ends = end
				}
				var want Outcome
				switch newest := max(closed, highest[ipv4], highest[ipv6]); {
				case stamp.Sub(now) > 2*l.tolerance:
					want = Future
				case at == closing && !end.After(now), at != closing && !ends.After(now):
					want = Ended
				case at == closing && order <= newest, at != closing && order <= max(closed, highest[at]):
					want = Superseded
				case at == closing:
					want = Closed
				default:
					want = Opened
				}
				if got != want {
					t.Fatalf("%s, base %d, stamped %s, until %s: %s, want %s", k, base, stamp.Sub(now), end.Sub(now), got, want)
				}
				switch got {
				case Closed:
					b.accept(k, v, a, l, now)
					closed = order
				case Opened:
					g := b.accept(k, v, a, l, now)
					if !g.ends(l).Equal(ends) || g.from.After(stamp.Add(l.tolerance)) {
						t.Fatalf("%s: opens %+v until %s, want %s", k, g, g.ends(l), ends)
					}
					highest[at], from[at] = order, address
					if keys[k] == nil {
						keys[k] = map[netip.Addr]grant{}
					}
					keys[k][address] = grant{order, ends}
				}
			case "remove":
				want := map[netip.Addr]bool{}
				for address, g := range keys[k] { // closing keys have none
					if g.ends.After(now) && (highest[at] == g.base || from[at] != address) {
						want[address] = true
					}
				}
				delete(keys, k)
				got := map[netip.Addr]bool{}
				for _, g := range b.remove(k, l, now) {
					got[g.address] = true
				}
				if !maps.Equal(got, want) {
					t.Fatalf("%s deleted: revoked %v, want %v", k, got, want)
				}
			case "local":
				stamps.sign(base, now)
				b.local(secretOf{k.client, verifytest.Fingerprint(k.client)}, at, base, uint32(now.Unix()), address, now.Add(time.Hour), now)
				if at == closing {
					closed = max(closed, order)
				} else if order > highest[at] {
					highest[at], from[at] = order, address
				}
			case "wait":
				now = now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "wait")) * time.Second)
			}
		}
	})
}

// TestBookForgets: the book forgets an attempt, which has no effect afterwards either.
func TestBookForgets(t *testing.T) {
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	l := limits{tolerance: 30 * time.Second, longest: time.Minute}
	b, now := newBook(), time.Unix(1_700_000_000, 0)
	k := grantKey{"a", verifytest.ID("com1"), ipv4}
	v, a := signed(t, table, 7, now, alice, false, now.Add(time.Minute))
	b.accept(k, v, a, l, now)
	for passed := range 200 {
		later := now.Add(time.Duration(passed) * time.Second)
		b.sweep(later)
		if outcome := b.consider(v, a, l, later); outcome != Superseded && outcome != Ended {
			t.Fatalf("after %d s: %s", passed, outcome)
		}
	}
	if len(b.keys)+len(b.secrets)+len(b.clients) > 0 {
		t.Errorf("%d keys and %d secrets are left", len(b.keys), len(b.secrets))
	}
}
