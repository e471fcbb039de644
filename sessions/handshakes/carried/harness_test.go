package carried

import (
	"crypto/rand"
	"io"
	"net/netip"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

var (
	public4 = netip.MustParseAddr("198.51.100.1")
	public6 = netip.MustParseAddr("2001:db8::1")
	victim  = netip.MustParseAddr("203.0.113.9")
	victim6 = netip.MustParseAddr("2001:db8:1::9")
	site    = carrier.ServerOf(carrier.HTTP, "www.example.com")
	zone    = carrier.ServerOf(carrier.DNS, "k.example.com")
	start   = time.Unix(1_700_000_000, 0)
)

func newOperation(t testing.TB, id string, a exchange.Algorithm, randomPort bool) *exchange.Operation {
	t.Helper()
	o, err := exchange.NewOperation(id, "secret of "+id, a, randomPort)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// operationsOf are operations of a server without ports.
func operationsOf(t testing.TB, list ...*exchange.Operation) *exchange.Operations {
	t.Helper()
	o, err := exchange.NewOperations(list, challenge.Plan{NoIPv4: true, NoIPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// harness is a table with a listener of HTTP.
type harness struct {
	*Table
	t      testing.TB
	web    *Listener
	proofs []Proof
	now    time.Time
}

func newHarness(t testing.TB, change func(*Config), list ...*exchange.Operation) *harness {
	t.Helper()
	h := &harness{t: t, now: start}
	c := Config{
		Operations: operationsOf(t, list...), Slots: MinSlots, Random: rand.Reader,
		Port:    func(*exchange.Operation) uint16 { return 4711 },
		OnProof: func(p Proof) { h.proofs = append(h.proofs, p) },
	}
	if change != nil {
		change(&c)
	}
	table, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	h.Table, h.web = table, table.At(site, public4, public6)
	return h
}

// testClient is a client in one exchange.
type testClient struct {
	h         *harness
	operation *exchange.Operation
	listener  *Listener
	initiator *exchange.Initiator
	kind      carrier.Kind
	x         carrier.Exchange
	address   netip.Addr // that the server sees; zero: for a connection
	request   *carrier.Message
}

// client begins an exchange with a number.
func (h *harness) client(o *exchange.Operation, k carrier.Kind, x carrier.Exchange) *testClient {
	h.t.Helper()
	c := &testClient{h: h, operation: o, listener: h.web, kind: k, x: x}
	self, server := carrier.ClientOf(x), site
	switch k {
	case carrier.Request4:
		self, server, c.address = victim, public4, victim
	case carrier.Request6:
		self, server, c.address = victim6, public6, victim6
	}
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	var err error
	if c.initiator, err = exchange.NewInitiator(o, self, server, nonce); err != nil {
		h.t.Fatal(err)
	}
	c.request = h.message(k, x, c.initiator.Request())
	return c
}

func (h *harness) message(k carrier.Kind, x carrier.Exchange, b []byte) *carrier.Message {
	h.t.Helper()
	m, err := carrier.New(k, x, b)
	if err != nil {
		h.t.Fatal(err)
	}
	return &m
}

// ask sends the request.
func (c *testClient) ask() ([]byte, bool) {
	return c.listener.Request(nil, c.request, c.address, c.h.now)
}

// answer sends the request, and returns the answer to its challenge.
func (c *testClient) answer() exchange.Answer {
	c.h.t.Helper()
	challenge, ok := c.ask()
	if !ok {
		c.h.t.Fatalf("no challenge: %v", c.h.Stats())
	}
	a, err := c.initiator.Answer(challenge)
	if err != nil {
		c.h.t.Fatal(err)
	}
	return a
}

// respond sends a response.
func (c *testClient) respond(response []byte) {
	c.listener.Response(c.h.message(carrier.Response, c.x, response), c.h.now)
}

// prove completes the exchange, and returns the client's answer.
func (c *testClient) prove() exchange.Answer {
	c.h.t.Helper()
	before := len(c.h.proofs)
	a := c.answer()
	c.respond(a.Response)
	if len(c.h.proofs) != before+1 {
		c.h.t.Fatalf("no proof: %v", c.h.Stats())
	}
	return a
}

// failing is a source of random bytes that has none.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
