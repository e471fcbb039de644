package sessions

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"sallyport/verify/verifytest"
)

// TestOnPathAttacker: an on-path attacker delays, reorders, drops and overtakes
// datagrams, and replays them from any address. The server grants exactly what
// the invariant of verify/wire/PROTOCOL.md allows: an address gets the one grant
// of an attempt if each of its n datagrams reached the server from that address
// before it did from any other, and before any datagram of a later attempt. When
// an attempt has left its slot, all its nonces are used.
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
		list := withSecrets([]Client{{Identifier: verifytest.ID("com1")}})
		s.replace(list)

		// The attempts that the client has sent, and for each datagram the first
		// address from which it was delivered while its attempt was the newest.
		type attempt struct {
			base  uint32
			first []netip.Addr
		}
		var sent []attempt
		newest, next := -1, uint32(0)
		held := map[int]bool{} // attempts that the slot held
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
			}
			i := rapid.IntRange(max(len(sent)-3, 0), len(sent)-1).Draw(t, "attempt")
			sequence := rapid.IntRange(0, n-1).Draw(t, "sequence")
			from := rapid.SampledFrom(addresses).Draw(t, "from")
			a := &sent[i]
			var want []Grant
			if i >= newest && !a.first[sequence].IsValid() {
				newest, held[i] = i, true
				a.first[sequence] = from
				all := true
				for _, by := range a.first {
					all = all && by == from
				}
				if all {
					want = []Grant{{Identifier: verifytest.ID("com1"), Address: from, Minute: minute}}
				}
			}
			grants = nil
			s.handle(arrival{f.Knock(t, "com1", minute, a.base, sequence), from})
			s.recorder.drain()
			if len(grants) != len(want) || len(want) == 1 && grants[0] != want[0] {
				t.Fatalf("granted %v, want %v", grants, want)
			}
		}
		delete(held, newest)
		for i := range held {
			for sequence := range n {
				w := s.clients[0].current.nonces
				if nonce := sent[i].base + uint32(sequence); w.Accept(nonce) {
					t.Fatalf("nonce %d is unused, but its attempt is over", nonce)
				}
			}
		}
	})
}
