package sessions

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/replay"
	"sallyport/verify/verifytest"
)

// TestOnPathAttacker: an on-path attacker delays, reorders, drops and overtakes
// datagrams, and replays them from any address. The server grants exactly what
// the invariant of verify/wire/PROTOCOL.md allows: an address gets the one grant
// of an attempt if each of its n datagrams reached the server from that address
// before it did from any other, while the attempt was one of the four newest, and the
// first within two seconds of the first of each newer one. When an attempt has left its slot, all
// its nonces are used.
func TestOnPathAttacker(t *testing.T) {
	addresses := []netip.Addr{alice, netip.MustParseAddr("192.0.2.66"), bob}
	forges := map[int]verifytest.Sequences{}
	for n := 1; n <= 5; n++ {
		forges[n] = verifytest.New(t, n, "com1")
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		f := forges[n]
		var grants []Grant
		s := newTestShard(gateFunc(func(g Grant) error { grants = append(grants, g); return nil }))
		now := time.Unix(1_800_000_000, 0)
		s.boot = func() time.Time { return now }
		list := withSecrets([]Client{{Identifier: verifytest.ID("com1")}})
		s.replace(list)

		// The attempts that the client has sent, and for each datagram the first
		// address from which it was delivered while its attempt was the newest.
		type attempt struct {
			base  uint32
			first []netip.Addr
		}
		var sent []attempt
		next := uint32(0)
		highest := int64(-1)
		held := map[int]time.Time{} // attempts that the slot held, and when they began
		send := func() {
			sent = append(sent, attempt{next, make([]netip.Addr, n)})
			next += uint32(n)
			if rapid.IntRange(0, 4).Draw(t, "jump") == 0 {
				next += 65_536
			}
		}
		send()
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0:
				send()
				continue
			case 1:
				s.replace(list) // a reload
				continue
			case 2:
				now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
				continue
			}
			i := rapid.IntRange(max(len(sent)-7, 0), len(sent)-1).Draw(t, "attempt")
			sequence := rapid.IntRange(0, n-1).Draw(t, "sequence")
			from := rapid.SampledFrom(addresses).Draw(t, "from")
			a := &sent[i]
			var want []Grant
			later := 0 // later attempts that have begun
			late := false
			for other, began := range held {
				if other > i {
					later++
					late = late || now.Sub(began) > 2*time.Second
				}
			}
			nonce := int64(a.base) + int64(sequence)
			if arrived := a.first[sequence].IsValid() || nonce+replay.Size <= highest; !arrived {
				a.first[sequence], highest = from, max(highest, nonce)
				if _, has := held[i]; later < 4 && (has || !late) {
					if !has {
						held[i] = now
					}
					all := true
					for _, by := range a.first {
						all = all && by == from
					}
					if all {
						want = []Grant{{Identifier: verifytest.ID("com1"), Address: from, Minute: minute}}
					}
				} else {
					a.first[sequence] = netip.IPv4Unspecified() // used up
				}
			}
			grants = nil
			s.handle(arrival{f.Knock(t, "com1", minute, a.base, sequence), from})
			s.recorder.drain()
			if len(grants) != len(want) || len(want) == 1 && grants[0] != want[0] {
				t.Fatalf("granted %v, want %v", grants, want)
			}
		}
		over := slices.Sorted(maps.Keys(held))
		for _, i := range over[:max(len(over)-4, 0)] {
			for sequence := range n {
				w := s.clients[0].current.nonces
				if nonce := sent[i].base + uint32(sequence); w.Accept(nonce) {
					t.Fatalf("nonce %d is unused, but its attempt is over", nonce)
				}
			}
		}
	})
}
