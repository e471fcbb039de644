package carried

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

var requestKinds = []carrier.Kind{carrier.Request4, carrier.Request6, carrier.RequestConnection}

// TestExchange: each algorithm, for each kind, with and without a port, proves once, for
// the address of its kind, and leaves a ticket that can be taken once.
func TestExchange(t *testing.T) {
	x := carrier.Exchange(0)
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		for _, randomPort := range []bool{false, true} {
			o := newOperation(t, "ssh-alice", a, randomPort)
			h := newHarness(t, nil, o, newOperation(t, "ssh-other", a, false))
			for _, k := range requestKinds {
				t.Run(fmt.Sprint(a, randomPort, k), func(t *testing.T) {
					h.t, h.proofs = t, nil
					x++
					c := h.client(o, k, x)
					answer := c.prove()
					p := h.proofs[0]
					if p.Operation() != o || p.Address != c.address || p.Exchange != x || p.Port() != answer.Port || (p.Port() != 0) != randomPort {
						t.Errorf("%+v", p)
					}
					if _, ok := h.Take(x+1000, answer.Ticket, h.now); ok {
						t.Error("a ticket of another exchange")
					}
					if _, ok := h.Take(x, [exchange.TicketSize]byte{}, h.now); ok {
						t.Error("a wrong ticket")
					}
					if got, ok := h.Take(x, answer.Ticket, h.now); !ok || got != p {
						t.Errorf("%+v, %t, want %+v", got, ok, p)
					}
					if _, ok := h.Take(x, answer.Ticket, h.now); ok {
						t.Error("a ticket is taken twice")
					}
					if _, ok := h.Take(x, [exchange.TicketSize]byte{}, h.now); ok {
						t.Error("no ticket, of an exchange whose ticket was taken")
					}
					c.respond(answer.Response)
					if len(h.proofs) != 1 {
						t.Error("a response that arrives again proves again")
					}
				})
			}
		}
	}
}

// TestRepeatedRequest: the same request gets the same challenge, before and after the
// response, until the exchange ends; another request with its number gets none.
func TestRepeatedRequest(t *testing.T) {
	one, two := newOperation(t, "ssh-alice", exchange.NATAware, true), newOperation(t, "web-alice", exchange.NATAware, true)
	h := newHarness(t, nil, one, two)
	for i, k := range requestKinds {
		c := h.client(one, k, carrier.Exchange(i))
		first, _ := c.ask()
		again := func(when string) {
			t.Helper()
			if got, ok := c.ask(); !ok || !bytes.Equal(got, first) {
				t.Errorf("%s: %x, %t, want %x", when, got, ok, first)
			}
		}
		again("at once")
		h.now = h.now.Add(ExchangeTime / 2)
		again("after half of the time")
		for what, other := range map[string]*testClient{
			"another nonce or address": {h: h, listener: h.web, kind: k, address: c.address, request: h.message(k, c.x, append([]byte("ssh-alice"), make([]byte, len(c.request.Bytes())-9)...))},
			"another operation":        {h: h, listener: h.web, kind: k, address: c.address, request: h.client(two, k, c.x).request},
			"another listener":         {h: h, listener: h.At(zone, public4, public6), kind: k, address: c.address, request: c.request},
		} {
			if got, ok := other.ask(); ok || len(got) != 0 {
				t.Errorf("%s gets %x", what, got)
			}
		}
		if k != carrier.RequestConnection {
			other := *c
			other.address = other.address.Next()
			if _, ok := other.ask(); ok {
				t.Error("another client gets the challenge")
			}
		}
		a, err := c.initiator.Answer(first)
		if err != nil {
			t.Fatal(err)
		}
		c.respond(a.Response)
		again("after the response")
		h.now = h.now.Add(2 * ExchangeTime)
		if got, ok := c.ask(); !ok || bytes.Equal(got, first) {
			t.Errorf("after the end: %x, %t", got, ok)
		}
	}
	if n := len(h.proofs); n != len(requestKinds) {
		t.Errorf("%d proofs", n)
	}
}

// TestWrongResponse ends the exchange, and leaves no ticket.
func TestWrongResponse(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, false)
	h := newHarness(t, nil, o)
	c := h.client(o, carrier.RequestConnection, 1)
	a := c.answer()
	for _, wrong := range [][]byte{{1}, bytes.Repeat([]byte{1}, len(a.Response)), append(bytes.Clone(a.Response), 0)} {
		c := h.client(o, carrier.RequestConnection, c.x+1)
		a := c.answer()
		c.respond(wrong)
		c.respond(a.Response)
		if _, ok := h.Take(c.x, a.Ticket, h.now); ok || len(h.proofs) != 0 {
			t.Errorf("after %x: ticket %t, proofs %v", wrong, ok, h.proofs)
		}
		h.now = h.now.Add(time.Hour)
	}
	if st := h.Stats(); st[Refused] != 3 || st[Unmatched] != 3 {
		t.Errorf("%v", st)
	}
}

// TestTimes: exchanges and tickets end after their time, with and without Sweep.
func TestTimes(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, false)
	for _, sweep := range []bool{false, true} {
		h := newHarness(t, nil, o)
		pass := func(d time.Duration) {
			h.now = h.now.Add(d)
			if sweep {
				h.Sweep(h.now)
			}
		}
		c := h.client(o, carrier.Request4, 1)
		a := c.answer()
		pass(ExchangeTime)
		c.respond(a.Response)
		if len(h.proofs) != 0 || h.Stats()[Expired] != 1 {
			t.Errorf("sweep %t: a late response proves: %v", sweep, h.Stats())
		}
		c = h.client(o, carrier.Request4, 2)
		a = c.answer()
		pass(ExchangeTime - 1)
		c.respond(a.Response)
		if len(h.proofs) != 1 {
			t.Fatalf("sweep %t: no proof: %v", sweep, h.Stats())
		}
		pass(TicketTime - 1)
		copied := a.Ticket
		copied[0] ^= 1
		if _, ok := h.Take(c.x, copied, h.now); ok {
			t.Error("a wrong ticket")
		}
		if _, ok := h.Take(c.x, a.Ticket, h.now); !ok {
			t.Errorf("sweep %t: the ticket has expired early", sweep)
		}
		c = h.client(o, carrier.Request4, 3)
		a = c.prove()
		pass(TicketTime)
		if _, ok := h.Take(c.x, a.Ticket, h.now); ok {
			t.Errorf("sweep %t: a ticket after its time", sweep)
		}
		if h.Stats()[Expired] != 1 {
			t.Errorf("a proved exchange counts as expired: %v", h.Stats())
		}
		pass(time.Hour)
		h.Sweep(h.now)
		h.check(0)
	}
}

// TestIgnored: kinds that the listener does not have, addresses of another family,
// operations that exclude the address, and messages that are no request.
func TestIgnored(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, true)
	allowed := func(_ *exchange.Operation, a netip.Addr) bool { return a.IsValid() && a != victim6 }
	h := newHarness(t, func(c *Config) { c.Allows = allowed }, o)
	none := h.At(netip.Addr{}, netip.Addr{}, netip.Addr{})
	for _, k := range requestKinds {
		c := h.client(o, k, 1)
		c.listener = none
		if _, ok := c.ask(); ok {
			t.Errorf("%s at a listener without an address", k)
		}
	}
	c := h.client(o, carrier.Request4, 2)
	for _, from := range []netip.Addr{{}, victim6, netip.AddrFrom16(victim.As16())} {
		if _, ok := h.web.Request(nil, c.request, from, h.now); ok {
			t.Errorf("an IPv4 request from %v", from)
		}
	}
	for _, k := range []carrier.Kind{carrier.Request6, carrier.RequestConnection} {
		if _, ok := h.client(o, k, 3).ask(); ok {
			t.Errorf("%s is not allowed", k)
		}
	}
	for _, text := range []string{"ssh-a", "ssh-alice", "ssh-alice12345", "other-one1234", "a", "ssh-alice\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12"} {
		if _, ok := h.web.Request(nil, h.message(carrier.Request4, 4, []byte(text)), victim, h.now); ok {
			t.Errorf("%q", text)
		}
	}
	if _, ok := c.ask(); !ok {
		t.Error("the request itself is ignored")
	}
	if st := h.Stats(); st[Answered] != 1 || st[Unmatched] != 3+3+2+6 {
		t.Errorf("%v", st)
	}
}

// TestFailed: without a nonce or a port there is no challenge, and dst is as it was.
func TestFailed(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, true)
	for _, change := range []func(*Config){
		func(c *Config) { c.Random = failing{} },
		func(c *Config) { c.Port = nil },
		func(c *Config) { c.Port = func(*exchange.Operation) uint16 { return 0 } },
	} {
		h := newHarness(t, change, o)
		c := h.client(o, carrier.Request4, 1)
		got, ok := h.web.Request([]byte("a"), c.request, victim, h.now)
		if ok || string(got) != "a" || h.Stats()[Failed] != 1 {
			t.Errorf("%q, %t, %v", got, ok, h.Stats())
		}
		h.check(0)
	}
}

// TestUpdate: the exchanges and tickets of an operation that stays go on, those of one that
// is replaced, or removed, end at once.
func TestUpdate(t *testing.T) {
	stays, replaced, removed := newOperation(t, "ssh-alice", exchange.NATAware, false), newOperation(t, "web-alice", exchange.NATAware, false),
		newOperation(t, "ntp-alice", exchange.NATAware, false)
	h := newHarness(t, nil, stays, replaced, removed)
	type begun struct {
		pending *testClient
		answer  exchange.Answer
		ticket  [exchange.TicketSize]byte
	}
	all := map[*exchange.Operation]begun{}
	for i, o := range []*exchange.Operation{stays, replaced, removed} {
		x := carrier.Exchange(10 * i)
		h.now = h.now.Add(2 * time.Second) // for the rate
		b := begun{pending: h.client(o, carrier.Request4, x+1), ticket: h.client(o, carrier.Request4, x).prove().Ticket}
		b.answer = b.pending.answer()
		all[o] = b
	}
	next := newOperation(t, "web-alice", exchange.NATAware, false)
	h.Update(operationsOf(t, stays, next))
	h.check(2)
	for o, b := range all {
		before := len(h.proofs)
		b.pending.respond(b.answer.Response)
		proved := len(h.proofs) > before
		_, ticket := h.Take(b.pending.x-1, b.ticket, h.now)
		if want := o == stays; proved != want || ticket != want {
			t.Errorf("%s: proved %t, a ticket %t, want %t", o.ID(), proved, ticket, want)
		}
		b.pending.ask()
	}
	if got, ok := all[stays].pending.ask(); !ok || len(got) == 0 {
		t.Error("a repeated request has no challenge")
	}
	h.now = h.now.Add(time.Second)
	h.client(next, carrier.Request4, 40).prove()
	h.Update(operationsOf(t))
	h.check(0)
	if _, ok := h.client(stays, carrier.Request4, 41).ask(); ok {
		t.Error("an operation that is gone")
	}
}

// TestUpdateMeanwhile: a message that has begun before Update, and ends after it, has no
// effect on the exchanges after it.
func TestUpdateMeanwhile(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, true)
	var h *harness
	update := false
	h = newHarness(t, func(c *Config) {
		c.Port = func(*exchange.Operation) uint16 {
			if update {
				h.Update(operationsOf(h.t, newOperation(h.t, "ssh-alice", exchange.NATAware, true)))
			}
			return 4711
		}
	}, o)
	update = true
	if _, ok := h.client(o, carrier.Request4, 1).ask(); ok {
		t.Error("a challenge of an operation that is gone")
	}
	h.check(0)
}

// TestAge: if requests age, the table takes those of the live minutes, masked.
func TestAge(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.Mutual, false)
	key := schedule.HopKeyOf("port secret")
	list, err := exchange.NewOperations([]*exchange.Operation{o}, challenge.Plan{NoIPv4: true, NoIPv6: true, Hop: 7})
	if err != nil {
		t.Fatal(err)
	}
	list.SetHopping(exchange.Hopping{
		Keys: func(schedule.Minute) []schedule.HopKey {
			return []schedule.HopKey{schedule.HopKeyOf("next secret"), key}
		}, Tolerance: 5 * time.Second,
	})
	h := newHarness(t, func(c *Config) { c.Operations = list }, o)
	wall := time.Unix(1_700_000_040, 0).Truncate(time.Minute).Add(30 * time.Second)
	ask := func(x carrier.Exchange, masked bool, at time.Time) *testClient {
		h.now = h.now.Add(time.Second) // for the rate
		c := h.client(o, carrier.RequestConnection, x)
		if masked {
			c.initiator.Hop(key.Hop(schedule.MinuteOf(at), 1))
		}
		c.request = h.message(c.kind, x, c.initiator.Request())
		return c
	}
	early := ask(1, true, wall)
	if _, ok := early.ask(); ok {
		t.Error("a challenge before Turn")
	}
	h.Turn(wall)
	early.prove()
	if _, ok := ask(2, false, wall).ask(); ok {
		t.Error("a request without a mask")
	}
	if _, ok := ask(3, true, wall.Add(-time.Minute)).ask(); ok {
		t.Error("a request of the minute before")
	}
	turn := wall.Add(32 * time.Second)
	h.Turn(turn) // both minutes are live
	ask(4, true, wall).prove()
	ask(5, true, turn).prove()
	h.Turn(wall.Add(40 * time.Second))
	if _, ok := ask(6, true, wall).ask(); ok {
		t.Error("a request after its minute and the tolerance")
	}
	h.Update(list)
	ask(7, true, turn).prove() // Update keeps the time of day
	h.Turn(wall)
	ask(8, true, wall).prove() // the clock was set back
}

// TestConcurrent: of many identical requests all get one challenge, and of many right
// responses one proves.
func TestConcurrent(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, true)
	var mu sync.Mutex
	var proofs []Proof
	h := newHarness(t, func(c *Config) {
		c.Slots = DefaultSlots
		c.OnProof = func(p Proof) { mu.Lock(); proofs = append(proofs, p); mu.Unlock() }
	}, o)
	const exchanges, each = 50, 8
	var wg sync.WaitGroup
	for x := range carrier.Exchange(exchanges) {
		c := h.client(o, carrier.RequestConnection, x)
		got := make([][]byte, each)
		begin := make(chan struct{})
		var asked sync.WaitGroup
		for i := range each {
			asked.Add(1)
			wg.Add(1)
			go func() {
				defer wg.Done()
				<-begin
				got[i], _ = c.ask()
				asked.Done()
				asked.Wait()
				if a, err := c.initiator.Answer(got[i]); err == nil && bytes.Equal(got[i], got[0]) {
					c.respond(a.Response)
				} else {
					t.Errorf("exchange %d: %x and %x, %v", x, got[0], got[i], err)
				}
			}()
		}
		close(begin)
		wg.Wait()
	}
	if len(proofs) != exchanges {
		t.Errorf("%d proofs of %d exchanges", len(proofs), exchanges)
	}
	h.check(exchanges)
}

// TestRejects: configurations that are incomplete or out of range.
func TestRejects(t *testing.T) {
	o := operationsOf(t)
	good := Config{Operations: o, Random: failing{}, OnProof: func(Proof) {}}
	for what, change := range map[string]func(*Config){
		"operations":    func(c *Config) { c.Operations = nil },
		"random":        func(c *Config) { c.Random = nil },
		"proofs":        func(c *Config) { c.OnProof = nil },
		"few slots":     func(c *Config) { c.Slots = MinSlots - 1 },
		"many slots":    func(c *Config) { c.Slots = MaxSlots + 1 },
		"a high rate":   func(c *Config) { c.Rate = DefaultSlots/rateDivisor + 1 },
		"no rate":       func(c *Config) { c.Rate = -1 },
		"good: no list": nil,
	} {
		c := good
		if change != nil {
			change(&c)
		}
		if _, err := New(c); (err == nil) != (change == nil) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// check checks the table's structure, and that it holds n exchanges.
func (h *harness) check(n int) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	held, listed, hashed, unused := 0, 0, 0, 0
	for i := range h.storage.slots {
		if h.storage.slots[i].state != free {
			held++
		}
	}
	for s := h.storage.free; s != nil; s = s.next {
		unused++
	}
	for _, s := range h.storage.buckets {
		for ; s != nil; s = s.next {
			hashed++
		}
	}
	for _, o := range h.storage.all {
		for i := range o.classes {
			c := &o.classes[i]
			for l, states := range map[*list][]state{&c.waiting: {waiting, verifying}, &c.ended: {ended}, &c.proved: {proved}} {
				count := 0
				for s := l.oldest; s != nil; s = s.newer {
					count++
					if s.list != l || s.class() != c || s.state != states[0] && s.state != states[len(states)-1] {
						h.t.Errorf("a slot of state %d is in the wrong list", s.state)
					}
				}
				if count != l.n {
					h.t.Errorf("a list of %d slots counts %d", count, l.n)
				}
				listed += l.n
			}
		}
	}
	if held != n || listed != n || hashed != n || unused != len(h.storage.slots)-n {
		h.t.Errorf("%d held, %d in lists, %d in buckets, %d unused, want %d held", held, listed, hashed, unused, n)
	}
}
