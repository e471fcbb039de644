package carried

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// FuzzMessages sends messages, as carriers bring them, at any time and from any address.
// Without a secret, they prove nothing, and a challenge is an answer to the request of an
// operation. Each message is: kind, number, milliseconds, length, bytes.
func FuzzMessages(f *testing.F) {
	o := newOperation(f, "ssh-alice", exchange.NATAware, true)
	for i, k := range requestKinds {
		c := newHarness(f, nil, o).client(o, k, carrier.Exchange(i))
		b := c.request.Bytes()
		f.Add(append([]byte{byte(k), byte(i), 10, byte(len(b))}, b...))
		f.Add(append([]byte{byte(k), byte(i), 0, byte(len(b)) + 1}, append(b, 0, 3, byte(i), 1, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHarness(t, nil, o)
		challenges, held := uint64(0), map[carrier.Exchange]string{}
		for len(b) > 4 {
			k, x, n := carrier.Kind(b[0]%4), carrier.Exchange(b[1]), min(int(b[3])%carrier.MaxMessage+1, len(b)-4)
			h.now = h.now.Add(time.Duration(b[2]) * time.Millisecond)
			m := h.message(k, x, b[4:4+n])
			b = b[4+n:]
			if k == carrier.Response {
				h.web.Response(m, h.now)
				continue
			}
			from := [...]netip.Addr{victim, victim6, {}}[k]
			challenge, ok := h.web.Request(nil, m, from, h.now)
			if ok != (len(challenge) == o.ChallengeSize(k != carrier.Request4)) {
				t.Fatalf("%t, a challenge of %d bytes", ok, len(challenge))
			}
			if ok && string(m.Bytes()[:len(o.ID())]) != o.ID() {
				t.Fatalf("%x gets a challenge", m.Bytes())
			}
			was, again := held[x]
			lasts := h.now.Sub(start) < ExchangeTime && h.Stats()[Evicted] == 0
			if ok && again && lasts && was != string(challenge) {
				t.Fatal("one exchange has two challenges")
			}
			if ok {
				held[x] = string(challenge)
				challenges++
			}
		}
		if st := h.Stats(); len(h.proofs) != 0 || st[Answered]+st[Repeated] != challenges {
			t.Fatalf("%d proofs, %d challenges, %v", len(h.proofs), challenges, st)
		}
	})
}
