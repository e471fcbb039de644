package carried

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// model is what a client knows of one of its exchanges.
type model struct {
	client    *testClient
	challenge []byte // nil: none
	answer    exchange.Answer
	at        time.Time // of the challenge, or of the proof
	responded bool
	proved    bool
}

// TestModel: whatever clients do in any order, an exchange has one challenge, a proof only
// only for its right response, at most one, and in time; and its ticket is taken once, in
// time. Update ends it only if its operation is replaced.
// The table is large enough that none gives way.
func TestModel(t *testing.T) {
	first := []*exchange.Operation{
		newOperation(t, "ssh-alice", exchange.NATAware, true), newOperation(t, "web-alice", exchange.Mutual, false),
		newOperation(t, "ntp-alice", exchange.Unilateral, false),
	}
	rapid.Check(t, func(rt *rapid.T) {
		operations := slices.Clone(first)
		h := newHarness(t, func(c *Config) { c.Slots = 1024 }, operations...)
		var all [6]model
		pick := func() *model { return &all[rapid.IntRange(0, len(all)-1).Draw(rt, "exchange")] }
		begin := func(m *model, i int) {
			k := requestKinds[rapid.IntRange(0, 2).Draw(rt, "kind")]
			o := operations[rapid.IntRange(0, 2).Draw(rt, "operation")]
			*m = model{client: h.client(o, k, carrier.Exchange(i))}
		}
		for i := range all {
			begin(&all[i], i)
		}
		alive := func(m *model) bool { return m.challenge != nil && h.now.Sub(m.at) < ExchangeTime }
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) {},
			"time passes": func(rt *rapid.T) {
				h.now = h.now.Add(time.Duration(rapid.Int64Range(1, int64(20*time.Second)).Draw(rt, "time")))
			},
			"sweep": func(rt *rapid.T) { h.Sweep(h.now) },
			"request": func(rt *rapid.T) {
				m := pick()
				h.now = h.now.Add(20 * time.Millisecond) // for the rate
				got, ok := m.client.ask()
				if alive(m) != (ok && bytes.Equal(got, m.challenge)) {
					rt.Fatalf("the challenge is %x, %t, was %x", got, ok, m.challenge)
				}
				if alive(m) {
					return
				}
				a, err := m.client.initiator.Answer(got)
				if err != nil {
					rt.Fatal(err)
				}
				*m = model{client: m.client, challenge: got, answer: a, at: h.now}
			},
			"response": func(rt *rapid.T) {
				m := pick()
				before, right := len(h.proofs), rapid.Bool().Draw(rt, "right")
				response := bytes.Clone(m.answer.Response)
				if !right || response == nil {
					response = append(response, 1)
				}
				m.client.respond(response)
				want := right && alive(m) && !m.responded
				if (len(h.proofs) != before) != want {
					rt.Fatalf("a proof: %t, want %t", !want, want)
				}
				m.responded = m.responded || alive(m)
				if want {
					m.proved, m.at = true, h.now
					p := h.proofs[before]
					if p.Exchange != m.client.x || p.Address != m.client.address || p.Ticket() != m.answer.Ticket {
						rt.Fatalf("%+v", p)
					}
				}
			},
			"take": func(rt *rapid.T) {
				m := pick()
				ticket, right := m.answer.Ticket, rapid.Bool().Draw(rt, "right ticket")
				if !right {
					ticket[3] ^= 1
				}
				_, ok := h.Take(m.client.x, ticket, h.now)
				if want := right && m.proved && alive(m); ok != want {
					rt.Fatalf("a ticket: %t, want %t", ok, want)
				}
				m.proved = m.proved && !ok
			},
			"update": func(rt *rapid.T) {
				i := rapid.IntRange(0, 3).Draw(rt, "replaced") // 3: none
				if i < 3 {
					was := operations[i]
					operations[i] = newOperation(t, was.ID(), was.Algorithm(), was.RandomPort())
				}
				h.Update(operationsOf(t, operations...))
				for j := range all {
					if o := all[j].client.operation; i < 3 && o.ID() == operations[i].ID() {
						begin(&all[j], j)
					}
				}
			},
		})
	})
}

// TestSmallTable: however many exchanges a small table has, its structure holds, and no
// proof or ticket is wrong.
func TestSmallTable(t *testing.T) {
	operations := []*exchange.Operation{newOperation(t, "ssh-alice", exchange.NATAware, true), newOperation(t, "web-alice", exchange.Mutual, false)}
	rapid.Check(t, func(rt *rapid.T) {
		h := newHarness(t, nil, operations...)
		held := func() (n int) {
			for i := range h.storage.slots {
				if h.storage.slots[i].state != free {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 300).Draw(rt, "messages") {
			h.now = h.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(rt, "ms")) * time.Millisecond)
			c := h.client(operations[rapid.IntRange(0, 1).Draw(rt, "operation")], requestKinds[rapid.IntRange(0, 2).Draw(rt, "kind")],
				carrier.Exchange(rapid.IntRange(0, 200).Draw(rt, "x")))
			before := len(h.proofs)
			challenge, ok := c.ask()
			if !ok {
				continue
			}
			a, err := c.initiator.Answer(challenge)
			if err != nil {
				continue // that of an earlier request, with the same bytes
			}
			if rapid.Bool().Draw(rt, "responds") {
				c.respond(a.Response)
			}
			if _, ok := h.Take(c.x, a.Ticket, h.now); ok && len(h.proofs) == 0 {
				rt.Fatal("a ticket without a proof")
			}
			if n := len(h.proofs) - before; n > 1 {
				rt.Fatalf("%d proofs", n)
			}
		}
		h.check(held())
		h.Sweep(h.now.Add(3 * ExchangeTime))
		h.check(0)
	})
}
