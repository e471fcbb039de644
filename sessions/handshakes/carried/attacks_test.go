package carried

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// The tests in this file are attacks. The attacker reads and delays any message, sends
// from any address and knows all IDs, but has no secret, or only
// that of another operation.

// everyExchange runs a test for each algorithm and kind, after an exchange that the
// attacker has overheard.
func everyExchange(t *testing.T, test func(t *testing.T, h *harness, o *exchange.Operation, heard *testClient, a exchange.Answer)) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		for _, k := range requestKinds {
			o := newOperation(t, "ssh-alice", a, false)
			h := newHarness(t, func(c *Config) { c.Slots = DefaultSlots }, o)
			heard := h.client(o, k, 1)
			answer := heard.prove()
			h.proofs = nil
			test(t, h, o, heard, answer)
		}
	}
}

// TestReplayedExchange: request and response again, at any time, in their order or not,
// with their number or another one, at the same listener or another, prove nothing.
func TestReplayedExchange(t *testing.T) {
	everyExchange(t, func(t *testing.T, h *harness, _ *exchange.Operation, heard *testClient, a exchange.Answer) {
		for _, after := range []time.Duration{0, time.Second, ExchangeTime, time.Minute, 24 * time.Hour} {
			h.now = h.now.Add(after)
			for _, l := range []*Listener{h.web, h.At(zone, public4, public6)} {
				for _, x := range []carrier.Exchange{heard.x, 2} {
					request, response := *heard.request, h.message(carrier.Response, x, a.Response)
					request.Exchange = x
					l.Response(response, h.now)
					l.Request(nil, &request, heard.address, h.now)
					l.Response(response, h.now)
				}
			}
		}
		if len(h.proofs) != 0 {
			t.Errorf("proofs %v", h.proofs)
		}
	})
}

// TestReplayedTicket: a ticket is of no use twice, nor for another exchange.
func TestReplayedTicket(t *testing.T) {
	everyExchange(t, func(t *testing.T, h *harness, o *exchange.Operation, heard *testClient, a exchange.Answer) {
		if _, ok := h.Take(heard.x, a.Ticket, h.now); !ok {
			t.Fatal("the ticket itself is refused")
		}
		h.client(o, heard.kind, 2).prove()
		for _, x := range []carrier.Exchange{heard.x, 2} {
			if _, ok := h.Take(x, a.Ticket, h.now); ok {
				t.Errorf("a used ticket opens exchange %d", x)
			}
		}
		// A ticket without a response.
		waits := h.client(o, heard.kind, 3)
		if early := waits.answer(); early.Ticket == a.Ticket {
			t.Error("two exchanges have one ticket")
		} else if _, ok := h.Take(3, early.Ticket, h.now); ok {
			t.Error("a ticket before the response")
		}
	})
}

// TestMovedExchange: the attacker sends a client's request with its own number, or from
// its own address, and passes the challenge to the client: the answer, if there is one, is
// right for the attacker's exchange only if the client's address is not part of it.
func TestMovedExchange(t *testing.T) {
	const attackerX = 99
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		for _, k := range requestKinds {
			o := newOperation(t, "ssh-alice", a, false)
			h := newHarness(t, nil, o)
			c := h.client(o, k, 1)
			from := c.address
			if from.IsValid() {
				from = from.Next()
			}
			moved := *c.request
			moved.Exchange = attackerX
			challenge, ok := h.web.Request(nil, &moved, from, h.now)
			if !ok {
				t.Fatalf("no challenge: %v", h.Stats())
			}
			answer, err := c.initiator.Answer(challenge)
			if err != nil && !errors.Is(err, exchange.ErrNotAuthentic) {
				t.Fatal(err)
			}
			if err != nil {
				continue
			}
			if a != exchange.Unilateral && k == carrier.RequestConnection && answer.Public == carrier.ClientOf(c.x) {
				t.Errorf("algorithm %d, %s: the client does not see the other number", a, k)
			}
			if a == exchange.Unilateral {
				h.web.Response(h.message(carrier.Response, attackerX, answer.Response), h.now)
			}
			if len(h.proofs) != 0 {
				t.Errorf("algorithm %d, %s: proofs %v", a, k, h.proofs)
			}
		}
	}
}

// TestSecretOfAnotherOperation opens that operation only.
func TestSecretOfAnotherOperation(t *testing.T) {
	mine, theirs := newOperation(t, "web-for-all", exchange.NATAware, false), newOperation(t, "ssh-alice", exchange.NATAware, false)
	stolen, err := exchange.NewOperation("ssh-alice", "secret of web-for-all", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, nil, mine, theirs)
	c := h.client(stolen, carrier.RequestConnection, 1)
	challenge, ok := c.ask()
	if _, err := c.initiator.Answer(challenge); !ok || !errors.Is(err, exchange.ErrNotAuthentic) {
		t.Errorf("%t, %v", ok, err)
	}
	// The attacker makes the response itself.
	r, err := exchange.ParseRequest(stolen, true, c.request.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	nonce := [exchange.NonceSize]byte(challenge[len(challenge)-exchange.NonceSize:])
	forged, _, err := r.Challenge(nil, carrier.ClientOf(1), site, nonce, 0)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.initiator.Answer(forged)
	if err != nil {
		t.Fatal(err)
	}
	c.respond(answer.Response)
	if len(h.proofs) != 0 || h.Stats()[Refused] != 1 {
		t.Errorf("proofs %v, %v", h.proofs, h.Stats())
	}
}

// TestReflection: the attacker sends fields of the challenge as a response.
func TestReflection(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := newOperation(t, "ssh-alice", a, true)
		h := newHarness(t, func(c *Config) { c.Slots = DefaultSlots }, o)
		challenge, _ := h.client(o, carrier.RequestConnection, 1).ask()
		for at := range len(challenge) - exchange.MACSize + 1 {
			c := h.client(o, carrier.RequestConnection, carrier.Exchange(at+2))
			got, _ := c.ask()
			c.respond(got[at : at+exchange.MACSize])
		}
		if len(h.proofs) != 0 || h.Stats()[Refused] == 0 {
			t.Errorf("algorithm %d: proofs %v, %v", a, h.proofs, h.Stats())
		}
	}
}

// flood sends a second of requests for an operation and a kind, of which the table
// answers as many as it may. It returns the number of challenges.
func (h *harness) flood(o *exchange.Operation, k carrier.Kind, from *carrier.Exchange) (challenges int) {
	c := h.client(o, k, 0)
	for range 1000 {
		h.now = h.now.Add(time.Millisecond)
		*from++
		c.request.Exchange = *from
		if _, ok := c.ask(); ok {
			challenges++
		}
	}
	return challenges
}

// TestFloodOfOneOperation: while an attacker draws all challenges that it can get with one
// ID, exchanges of other operations, and those of the same operation for an address, get
// their challenges, and last for their whole time; those of the flooded class last minLife.
func TestFloodOfOneOperation(t *testing.T) {
	flooded, other := newOperation(t, "ssh-alice", exchange.NATAware, false), newOperation(t, "web-alice", exchange.NATAware, false)
	h := newHarness(t, func(c *Config) { c.Slots = 2048 }, flooded, other)
	x := carrier.Exchange(1000)
	seconds := int(ExchangeTime/time.Second) - 1
	for range seconds { // the table is full
		h.flood(flooded, carrier.RequestConnection, &x)
	}
	if h.Stats()[Evicted] == 0 || h.Stats()[RateLimited] == 0 {
		t.Fatalf("the flood is too small: %v", h.Stats())
	}
	unharmed := []*testClient{
		h.client(other, carrier.RequestConnection, 1), h.client(other, carrier.Request4, 2), h.client(flooded, carrier.Request4, 3),
	}
	var answers []exchange.Answer
	for _, c := range unharmed {
		answers = append(answers, c.answer())
	}
	// A client of the flooded class gets a challenge when the rate permits one.
	same := h.client(flooded, carrier.RequestConnection, 4)
	h.now = h.now.Add(10 * time.Millisecond)
	sameAnswer := same.answer()
	for i := range seconds {
		h.flood(flooded, carrier.RequestConnection, &x)
		if i == int(minLife/time.Second)-1 {
			same.respond(sameAnswer.Response)
			if len(h.proofs) != 1 {
				t.Errorf("an exchange of the flooded class was lost: %v", h.Stats())
			}
		}
	}
	for i, c := range unharmed {
		before := len(h.proofs)
		c.respond(answers[i].Response)
		if len(h.proofs) != before+1 {
			t.Errorf("exchange %d was lost: %v", c.x, h.Stats())
		}
	}
	// The flood displaces no proved exchange of its class.
	if _, ok := h.Take(same.x, sameAnswer.Ticket, h.now); !ok {
		t.Error("the ticket was lost")
	}
	h.check(len(h.storage.slots))
}

// TestFloodOfRepeats: an attacker who sends one request again and again gets its challenge
// no more often than new ones, so that it does not use up the answers of a carrier; and
// other classes get theirs.
func TestFloodOfRepeats(t *testing.T) {
	const slots, rate = 2048, 2048 / rateDivisor
	flooded, other := newOperation(t, "ssh-alice", exchange.NATAware, false), newSigner(t, "web-alice", 1)
	for _, o := range []*exchange.Operation{flooded, other.operation} {
		h := newHarness(t, func(c *Config) { c.Slots = slots }, flooded, other.operation)
		c := h.client(flooded, carrier.RequestConnection, 1)
		if o == other.operation {
			c = other.begin(h, 1)
		}
		got := 0
		for range 5000 {
			if _, ok := c.ask(); ok {
				got++
			}
			h.now = h.now.Add(time.Second / 5000)
		}
		own := rate/2/4 + rate/2 // of its class, and the common part
		if most := own + classRepeats + rate/2 + 1; got > most || got < own {
			t.Errorf("%s: %d challenges in a second, want %d at most", o.ID(), got, most)
		}
		h.client(flooded, carrier.Request4, 2).answer()
		if st := h.Stats(); st[Answered] != 2 || st[Repeated] != uint64(got-1) {
			t.Errorf("%s: %v", o.ID(), st)
		}
	}
}

// TestFloodOfAllOperations: an attacker who knows all IDs displaces no challenge before
// minLife.
func TestFloodOfAllOperations(t *testing.T) {
	var all []*exchange.Operation
	for i := range 8 {
		all = append(all, newOperation(t, "ssh-"+string(rune('a'+i))+"-", exchange.NATAware, false))
	}
	h := newHarness(t, func(c *Config) { c.Slots = 1024 }, all...)
	x := carrier.Exchange(1000)
	for range 5 {
		for _, o := range all { // each class has its share
			h.flood(o, carrier.RequestConnection, &x)
		}
	}
	for _, o := range all[:3] {
		c := h.client(o, carrier.RequestConnection, carrier.Exchange(o.ID()[4]))
		h.now = h.now.Add(time.Second / 10)
		a := c.answer()
		for range minLife / time.Second {
			h.flood(o, carrier.RequestConnection, &x)
		}
		c.respond(a.Response)
	}
	if len(h.proofs) != 3 {
		t.Errorf("%d proofs of 3: %v", len(h.proofs), h.Stats())
	}
}

// TestHolderOfASecret: a client that proves its operation without end does not displace
// the exchanges of another operation, nor the challenges of this one.
func TestHolderOfASecret(t *testing.T) {
	theirs, mine := newOperation(t, "ssh-alice", exchange.NATAware, false), newOperation(t, "web-alice", exchange.NATAware, false)
	h := newHarness(t, func(c *Config) { c.Slots = 1024 }, theirs, mine)
	honest, same := h.client(mine, carrier.RequestConnection, 1), h.client(theirs, carrier.RequestConnection, 2)
	a := honest.prove()
	sameAnswer := same.answer()
	for x := range carrier.Exchange(1700) {
		h.now = h.now.Add(15 * time.Millisecond)
		c := h.client(theirs, carrier.RequestConnection, x+100)
		if challenge, ok := c.ask(); ok {
			answer, err := c.initiator.Answer(challenge)
			if err != nil {
				t.Fatal(err)
			}
			c.respond(answer.Response)
		}
	}
	if h.Stats()[Evicted] == 0 || len(h.proofs) < 1100 {
		t.Fatalf("the flood is too small: %v", h.Stats())
	}
	if _, ok := h.Take(1, a.Ticket, h.now); !ok {
		t.Error("the ticket of another operation was lost")
	}
	h.proofs = nil
	same.respond(sameAnswer.Response)
	if len(h.proofs) != 1 {
		t.Error("a challenge gave way to proofs")
	}
}

// TestEndedFirst: exchanges that have ended give way before those that have not, also those
// of another class, which are newer.
func TestEndedFirst(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, false)
	h := newHarness(t, func(c *Config) { c.Slots = 512 }, o)
	waits := h.client(o, carrier.Request4, 1)
	a := waits.answer()
	for x := range carrier.Exchange(700) {
		h.now = h.now.Add(30 * time.Millisecond)
		if x < 200 {
			h.client(o, carrier.Request4, x+100).ask()
			continue
		}
		c := h.client(o, carrier.RequestConnection, x+100)
		c.ask()
		c.respond([]byte("wrong"))
	}
	if h.now.Sub(start) >= ExchangeTime || h.storage.free != nil {
		t.Fatal("the table is not full, or the exchange has expired")
	}
	waits.respond(a.Response)
	if len(h.proofs) != 1 || h.Stats()[Evicted] != 0 {
		t.Errorf("%d proofs, %v", len(h.proofs), h.Stats())
	}
}

// TestReserve: an address that has proved an operation gets challenges while strangers
// use up the rate; a stranger's address gets none.
func TestReserve(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, false)
	h := newHarness(t, func(c *Config) { c.Slots = 1024 }, o)
	h.client(o, carrier.Request4, 1).prove()
	stranger := h.client(o, carrier.Request4, 2)
	stranger.address = stranger.address.Next()
	for x := carrier.Exchange(10); ; x++ {
		stranger.request.Exchange = x
		if _, ok := stranger.ask(); !ok {
			break
		}
	}
	if _, ok := h.client(o, carrier.Request4, 3).ask(); !ok {
		t.Errorf("the known address gets no challenge: %v", h.Stats())
	}
	stranger.request.Exchange = 4
	if _, ok := stranger.ask(); ok {
		t.Error("a stranger has a share of the reserve")
	}
}

// TestRandomMessages prove nothing, and draw no challenge.
func TestRandomMessages(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, false)
	h := newHarness(t, nil, o, newOperation(t, "web-alice", exchange.Mutual, true))
	waiting := h.client(o, carrier.Request4, 1)
	a := waiting.answer()
	b := make([]byte, carrier.MaxMessage)
	for n := range 20_000 {
		rand.Read(b)
		k := carrier.Kind(n % carrier.NumKinds)
		if k == carrier.Response {
			h.web.Response(h.message(k, carrier.Exchange(b[0])+2, b[1:21]), h.now)
			continue
		}
		client := slices.Index(requestKinds, k)
		m := h.message(k, carrier.Exchange(b[0])+2, b[:1+n%carrier.MaxMessage])
		from := h.client(o, requestKinds[client], 5).address
		if got, ok := h.web.Request(nil, m, from, h.now); ok || !bytes.Equal(got, nil) {
			t.Fatalf("%x gets a challenge", m.Bytes())
		}
	}
	waiting.respond(a.Response)
	if len(h.proofs) != 1 || h.Stats()[Answered] != 1 {
		t.Errorf("%d proofs, %v", len(h.proofs), h.Stats())
	}
}
