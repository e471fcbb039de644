package client

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	four = netip.MustParseAddr("192.0.2.1")
	six  = netip.MustParseAddr("2001:db8::1")
)

// TestPlan: whatever the addresses are, and whenever ICMP errors come, the client sends
// to each once, to the named ones first and within a second, and to each of the
// resolver's only when all named ones have had their time.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Unix(0, 0)
		p := newPlan(begin, rapid.Bool().Draw(t, "both"))
		namedCount, all := rapid.IntRange(0, MaxAddresses).Draw(t, "named"), 0
		add := func(named bool) {
			p.add(named, rapid.SampledFrom([]netip.Addr{four, six}).Draw(t, "address"))
			all++
		}
		for range namedCount {
			add(true)
		}
		for range rapid.IntRange(0, 4).Draw(t, "resolver's") {
			add(false)
		}
		var order []int
		now, lastSent := begin, time.Time{}
		for len(order) < all {
			i, at, ok := p.due()
			if !ok {
				t.Fatalf("sent only to %v of %d", order, all)
			}
			if slices.Contains(order, i) {
				t.Fatalf("address %d twice: %v", i, order)
			}
			dead := len(order) > 0 && rapid.Bool().Draw(t, "dead")
			if last := max(len(order)-1, 0); dead && at.After(now) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(at.Sub(now))).Draw(t, "early")))
				p.over(order[last], now)
				_, at, _ = p.due()
				if at.After(now) {
					t.Fatalf("waits for %v after an ICMP error", at.Sub(now))
				}
			} else if !lastSent.IsZero() {
				pause := otherPause
				if p.list[i].named {
					pause = namedPause
				}
				if got := at.Sub(lastSent); got != pause && !dead {
					t.Fatalf("%v after the last sequence, want %v", got, pause)
				}
			}
			if at.After(now) {
				now = at
			}
			p.sent(i, now)
			order, lastSent = append(order, i), now
			if i < namedCount && now.Sub(begin) >= time.Second {
				t.Fatalf("to a named address after %v", now.Sub(begin))
			}
		}
		if !slices.IsSorted(order) {
			t.Fatalf("order %v", order)
		}
		if _, _, ok := p.due(); ok {
			t.Fatal("one more")
		}
	})
}

// TestPlanAfterAnswer: after the first answer, the client sends only to the other family,
// only to addresses that the profile names (if there are any), and only for a short time.
func TestPlanAfterAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		both := rapid.Bool().Draw(t, "both")
		now := time.Unix(0, 0)
		p := newPlan(now, both)
		named := rapid.IntRange(0, 4).Draw(t, "named")
		families := rapid.SliceOfN(rapid.Bool(), max(named, 1), 8).Draw(t, "families")
		for i, is6 := range families {
			p.add(i < named, map[bool]netip.Addr{false: four, true: six}[is6])
		}
		sent := rapid.IntRange(1, len(families)).Draw(t, "sent")
		for range sent {
			i, at, _ := p.due()
			if at.After(now) {
				now = at
			}
			p.sent(i, now)
		}
		first := rapid.IntRange(0, sent-1).Draw(t, "answered")
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "after")))
		p.won(first, now)
		if more := p.until.Sub(now); more < minFamily || more > maxFamily {
			t.Fatalf("goes on for %v", more)
		}
		answered := now
		for {
			i, at, ok := p.due()
			if !ok {
				break
			}
			if at.After(now) {
				now = at
			}
			if !both || families[i] == families[first] || named > 0 && i >= named || !now.Before(p.until) {
				t.Fatalf("sends to address %d (named: %d) %v after the answer of %d: %v", i, named, now.Sub(answered), first, families)
			}
			p.sent(i, now)
		}
		next := slices.IndexFunc(families[sent:], func(is6 bool) bool { return is6 != families[first] })
		if next += sent; next >= sent && both && (next < named || named == 0) && p.list[next].sent != answered {
			t.Fatalf("does not go on to address %d at once", next)
		}
	})
}

var four4 = netip.AddrPortFrom(four, 22)
