package handshakes

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

var (
	start  = time.Unix(1_700_000_000, 0)
	server = netip.MustParseAddr("198.51.100.1")
	plan   = challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
		Ports:    challenge.Ports{First: 16384, Last: 30719},
	}
)

func operation(t testing.TB, id string, a exchange.Algorithm, random bool) *exchange.Operation {
	t.Helper()
	o, err := exchange.NewOperation(id, "secret of "+id, a, random)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// sent is a challenge that the table has sent.
type sent struct {
	to, from netip.AddrPort
	payload  []byte
}

// harness is a table, with the challenges that it has sent and its proofs.
type harness struct {
	t testing.TB
	*Table
	plan       challenge.Plan
	operations *exchange.Operations
	sent       []sent
	proofs     []exchange.Proof
	now        time.Time
	public6    netip.Addr // of the server, if it has one
}

func newHarness(t testing.TB, change func(*Config), list ...*exchange.Operation) *harness {
	t.Helper()
	return newHarnessFor(t, plan, change, list...)
}

func newHarnessFor(t testing.TB, plan challenge.Plan, change func(*Config), list ...*exchange.Operation) *harness {
	t.Helper()
	w := &harness{t: t, plan: plan, now: start}
	var err error
	if w.operations, err = exchange.NewOperations(list, plan); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Operations: w.operations, Slots: 1024, Random: rand.Reader,
		Port: func(*exchange.Operation) uint16 { return 40000 },
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			w.sent = append(w.sent, sent{source, destination, bytes.Clone(payload)})
			return nil
		},
		OnProof: func(g exchange.Proof, _ netip.Addr) { w.proofs = append(w.proofs, g) },
	}
	if change != nil {
		change(&cfg)
	}
	if w.Table, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *harness) send(source netip.AddrPort, port uint16) {
	w.now = w.now.Add(100 * time.Microsecond)
	w.Receive(source, netip.AddrPortFrom(w.serverAddress(source.Addr()), port), w.now)
}

// testClient is a client behind a NAT, which chooses the source ports.
type testClient struct {
	w         *harness
	operation *exchange.Operation
	client    *exchange.Initiator
	public    netip.Addr
	port      func() uint16
}

func fixed(port uint16) func() uint16 { return func() uint16 { return port } }

// symmetric gives each packet another port.
func symmetric(from uint16) func() uint16 {
	return func() uint16 { from++; return from }
}

func (w *harness) newClient(o *exchange.Operation, self, public string, port func() uint16) *testClient {
	w.t.Helper()
	p := &testClient{w: w, operation: o, public: netip.MustParseAddr(public), port: port}
	p.begin(self)
	return p
}

// serverAddress returns the server's address of the family of a client's address.
func (w *harness) serverAddress(self netip.Addr) netip.Addr {
	if self.Is6() {
		return w.public6
	}
	return server
}

// begin starts over.
func (p *testClient) begin(self string) {
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	var err error
	address := netip.MustParseAddr(self)
	if s, ok := signers[p.operation]; ok {
		p.client, err = s.begin(address, p.w.serverAddress(address))
	} else {
		p.client, err = exchange.NewInitiator(p.operation, address, p.w.serverAddress(address), nonce)
	}
	if err != nil {
		p.w.t.Fatal(err)
	}
}

func (p *testClient) ports(e challenge.Encoding, message []byte) []uint16 {
	p.w.t.Helper()
	c, err := e.SignedCodec(len(message))
	if err != nil {
		p.w.t.Fatal(err)
	}
	ports, err := c.AppendPorts(nil, message)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return ports
}

func (p *testClient) requestPorts() []uint16 { return p.ports(p.w.plan.Request, p.client.Request()) }

// source returns the source of the next packet.
func (p *testClient) source() netip.AddrPort { return netip.AddrPortFrom(p.public, p.port()) }

func (p *testClient) send(ports []uint16) (last netip.AddrPort) {
	for _, port := range ports {
		last = p.source()
		p.w.send(last, port)
	}
	return last
}

// answer answers the last challenge, which must be for this client.
func (p *testClient) answer() exchange.Answer {
	p.w.t.Helper()
	if len(p.w.sent) == 0 {
		p.w.t.Fatal("no challenge was sent")
	}
	last := p.w.sent[len(p.w.sent)-1]
	if last.to.Addr() != p.public {
		p.w.t.Fatalf("the challenge went to %s", last.to)
	}
	a, err := p.client.Answer(last.payload)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return a
}

func (p *testClient) responsePorts() []uint16 {
	a := p.answer()
	if a.ToSign != nil {
		a.Response = ed25519.Sign(signers[p.operation].private, a.ToSign)
	}
	return p.ports(p.w.plan.Response, a.Response)
}

func TestExchange(t *testing.T) {
	for name, port := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
		for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
			t.Run(name, func(t *testing.T) {
				o := operation(t, "ssh-alice", a, false)
				w := newHarness(t, nil, operation(t, "ssh-bob-1", a, false), o, operation(t, "web-alice-", a, false))
				self := "10.0.0.7"
				if a == exchange.Unilateral {
					self = "203.0.113.9"
				}
				p := w.newClient(o, self, "203.0.113.9", port)
				request := p.requestPorts()
				last := p.send(request)
				from := netip.AddrPortFrom(server, request[len(request)-1])
				if len(w.sent) != 1 || w.sent[0].to != last || w.sent[0].from != from {
					t.Fatalf("sent %v after %s", w.sent, last)
				}
				p.send(p.responsePorts())
				if len(w.proofs) != 1 || w.proofs[0].Client() != p.public || w.proofs[0].Operation() != o {
					t.Fatalf("proofs %v", w.proofs)
				}
				// A response is accepted once.
				p.send(p.responsePorts())
				if len(w.proofs) != 1 || len(w.sent) != 1 {
					t.Errorf("proofs %v, sent %v", w.proofs, w.sent)
				}
				if n := w.Stats()[Verified]; n != 1 {
					t.Errorf("%d proved", n)
				}
			})
		}
	}
}

// several returns operations whose requests have several kinds.
func several(t testing.TB) []*exchange.Operation {
	return []*exchange.Operation{
		operation(t, "ssh-alice", exchange.NATAware, false), operation(t, "ssh-bob-at-home", exchange.NATAware, false),
		operation(t, "web-alice", exchange.Mutual, false), operation(t, "web-bob-1", exchange.Unilateral, false),
		operation(t, "database--", exchange.Mutual, true), operation(t, "close-ssh-a", exchange.NATAware, false),
	}
}

func TestAnyOrder(t *testing.T) {
	for i := range 300 {
		all := several(t)
		o := all[i%len(all)]
		w := newHarness(t, nil, all...)
		port := fixed(5000)
		if mrand.IntN(2) == 0 {
			port = symmetric(5000)
		}
		self := "10.0.0.7"
		if o.Algorithm() == exchange.Unilateral {
			self = "203.0.113.9"
		}
		p := w.newClient(o, self, "203.0.113.9", port)
		shuffled := func(ports []uint16) []uint16 {
			twice := slices.Concat(ports, ports[:len(ports)/2])
			mrand.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
			return twice
		}
		p.send(shuffled(p.requestPorts()))
		if len(w.sent) != 1 {
			t.Fatalf("%s: %d challenges", o.ID(), len(w.sent))
		}
		p.send(shuffled(p.responsePorts()))
		if len(w.proofs) != 1 || w.proofs[0].Operation() != o {
			t.Fatalf("%s: proofs %v", o.ID(), w.proofs)
		}
	}
}

// TestOneAfterTheOther: a client behind a NAT that gives each packet another source port
// requests operations of several kinds, without a pause. Their IDs have a common
// beginning, so each packet begins requests of several kinds.
func TestOneAfterTheOther(t *testing.T) {
	for i := range 100 {
		var all []*exchange.Operation
		for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
			all = append(all, operation(t, fmt.Sprintf("ssh-alice-%d", a), a, false))
		}
		w := newHarness(t, nil, all...)
		port := symmetric(5000)
		for n, j := range mrand.Perm(len(all)) {
			p := w.newClient(all[j], "203.0.113.9", "203.0.113.9", port)
			ports := p.requestPorts()
			mrand.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
			p.send(ports)
			if len(w.sent) != n+1 {
				t.Fatalf("run %d: %d challenges after %d requests, the last one for %s", i, len(w.sent), n+1, all[j].ID())
			}
			p.send(p.responsePorts())
			if len(w.proofs) != n+1 || w.proofs[n].Operation() != all[j] {
				t.Fatalf("run %d: proofs %v", i, w.proofs)
			}
		}
	}
}

// TestLossStartsOver loses each packet once.
func TestLossStartsOver(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	for _, stable := range []bool{true, false} {
		w := newHarness(t, nil, o)
		sockets := uint16(5000)
		attempt := func() *testClient {
			sockets += 100
			port := fixed(sockets)
			if !stable {
				port = symmetric(sockets)
			}
			return w.newClient(o, "10.0.0.7", "203.0.113.9", port)
		}
		for lost := range len(attempt().requestPorts()) {
			p := attempt()
			p.send(slices.Delete(p.requestPorts(), lost, lost+1))
			if len(w.sent) != 0 {
				t.Fatal("an incomplete request is answered")
			}
			// The client waits for a second or two.
			w.now = w.now.Add(2 * time.Second)
			p = attempt()
			p.send(p.requestPorts())
			if len(w.sent) != 1 {
				t.Fatalf("stable %v, packet %d: %d challenges", stable, lost, len(w.sent))
			}
			p.send(slices.Delete(p.responsePorts(), lost, lost+1))
			w.now = w.now.Add(time.Second)
			p = attempt()
			p.send(p.requestPorts())
			p.send(p.responsePorts())
			if len(w.proofs) != 1 {
				t.Fatalf("stable %v, packet %d: %d grants", stable, lost, len(w.proofs))
			}
			w.sent, w.proofs = nil, nil
			w.now = w.now.Add(time.Minute)
		}
	}
}

// TestTwoBehindOneAddress: two clients behind one address have exchanges at the
// same time.
func TestTwoBehindOneAddress(t *testing.T) {
	alice := operation(t, "ssh-alice", exchange.NATAware, false)
	bob := operation(t, "ssh-bob-1", exchange.NATAware, false)
	w := newHarness(t, nil, alice, bob)
	a := w.newClient(alice, "10.0.0.7", "203.0.113.9", fixed(5000))
	b := w.newClient(bob, "10.0.0.8", "203.0.113.9", fixed(6000))
	both := func(pa, pb []uint16) {
		for i := range pa {
			a.send(pa[i : i+1])
			b.send(pb[i : i+1])
		}
	}
	both(a.requestPorts(), b.requestPorts())
	if len(w.sent) != 2 {
		t.Fatalf("%d challenges", len(w.sent))
	}
	second := w.sent[1]
	w.sent = w.sent[:1]
	pa := a.responsePorts()
	w.sent = append(w.sent, second)
	both(pa, b.responsePorts())
	if len(w.proofs) != 2 || w.proofs[0].Operation() != alice || w.proofs[1].Operation() != bob {
		t.Errorf("proofs %v", w.proofs)
	}
}

// TestWrongPacketsEndIt: each wrong packet of a response ends the exchange. A
// response from another address, to another address of the server or for another
// operation is not accepted.
func TestWrongPacketsEndIt(t *testing.T) {
	o, other := operation(t, "ssh-alice", exchange.NATAware, false), operation(t, "ssh-bob-1", exchange.NATAware, false)
	begin := func() (*harness, *testClient, []uint16) {
		w := newHarness(t, nil, o, other)
		p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
		p.send(p.requestPorts())
		return w, p, p.responsePorts()
	}
	t.Run("every guess", func(t *testing.T) {
		w, p, response := begin()
		p.send(response[:5])
		p.send([]uint16{response[5] ^ 1})
		p.send(response)
		if len(w.proofs) != 0 || w.Stats()[Refused] != 1 {
			t.Errorf("proofs %v", w.proofs)
		}
	})
	t.Run("all ports", func(t *testing.T) {
		w, p, _ := begin()
		for port := 1; port < 65536; port++ {
			p.send([]uint16{uint16(port)})
		}
		if len(w.proofs) != 0 {
			t.Errorf("proofs %v", w.proofs)
		}
	})
	t.Run("another address", func(t *testing.T) {
		w, _, response := begin()
		thief := w.newClient(o, "10.0.0.7", "203.0.113.10", fixed(5000))
		thief.send(thief.requestPorts())
		thief.send(response)
		if len(w.proofs) != 0 {
			t.Errorf("proofs %v", w.proofs)
		}
	})
	t.Run("another operation", func(t *testing.T) {
		w, p, response := begin()
		q := w.newClient(other, "10.0.0.7", p.public.String(), fixed(6000))
		q.send(q.requestPorts())
		q.send(response)
		if len(w.proofs) != 0 {
			t.Errorf("proofs %v", w.proofs)
		}
		// A response from one port is compared with each challenge to that port.
		q = w.newClient(other, "10.0.0.7", p.public.String(), fixed(5000))
		q.send(q.requestPorts())
		p.send(response)
		if len(w.proofs) != 1 || w.proofs[0].Operation() != o {
			t.Errorf("proofs %v", w.proofs)
		}
	})
	t.Run("another address of the server", func(t *testing.T) {
		w, p, response := begin()
		for _, port := range response {
			w.Receive(p.source(), netip.AddrPortFrom(server.Next(), port), w.now)
		}
		if len(w.proofs) != 0 {
			t.Errorf("proofs %v", w.proofs)
		}
		p.send(response)
		if len(w.proofs) != 1 {
			t.Errorf("proofs %v", w.proofs)
		}
	})
	t.Run("too late", func(t *testing.T) {
		w, p, response := begin()
		w.now = w.now.Add(responseTime)
		p.send(response)
		if len(w.proofs) != 0 {
			t.Errorf("proofs %v", w.proofs)
		}
	})
}

func TestUnknownRequestsAreNotAnswered(t *testing.T) {
	known := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, nil, known)
	for _, id := range []string{"ssh-alicf", "tsh-alice", "ssh-a", "ssh-bob-12"} {
		p := w.newClient(operation(t, id, exchange.NATAware, false), "10.0.0.7", "203.0.113.9", fixed(5000))
		p.send(p.requestPorts())
		w.now = w.now.Add(requestTime)
	}
	if len(w.sent) != 0 {
		t.Errorf("sent %v", w.sent)
	}
}

func TestPublicAddressAndRandomPort(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, true)
	public := netip.MustParseAddr("192.0.2.80")
	w := newHarness(t, func(c *Config) { c.Public4 = public }, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	var err error
	self := netip.MustParseAddr("10.0.0.7")
	if p.client, err = exchange.NewInitiator(o, self, public, [exchange.NonceSize]byte{}); err != nil {
		t.Fatal(err)
	}
	p.send(p.requestPorts())
	if got := p.answer().Port; got != 40000 {
		t.Errorf("port %d", got)
	}
	p.send(p.responsePorts())
	if len(w.proofs) != 1 || w.proofs[0].Port() != 40000 {
		t.Errorf("proofs %v", w.proofs)
	}
}

// TestUpdate: exchanges of an operation that stays go on, and those of one that is
// replaced or removed end; so do requests that are not complete, unless nothing changes.
func TestUpdate(t *testing.T) {
	for name, c := range map[string]struct{ stays, other bool }{
		"nothing changes": {true, true}, "another is replaced": {true, false}, "it is replaced": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			o, other := operation(t, "ssh-alice", exchange.NATAware, false), operation(t, "ssh-bob-1", exchange.NATAware, false)
			w := newHarness(t, nil, o, other)
			p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
			p.send(p.requestPorts())
			response := p.responsePorts()
			p.send(response[:len(response)/2])
			q := w.newClient(o, "10.0.0.7", "203.0.113.10", fixed(5000))
			request := q.requestPorts()
			q.send(request[:len(request)/2])
			if !c.stays {
				o = operation(t, "ssh-alice", exchange.NATAware, false)
			}
			if !c.other {
				other = operation(t, "ssh-bob-1", exchange.NATAware, false)
			}
			next, err := exchange.NewOperations([]*exchange.Operation{o, other}, plan)
			if err != nil {
				t.Fatal(err)
			}
			w.Update(next)
			p.send(response[len(response)/2:])
			if got := len(w.proofs) == 1; got != c.stays {
				t.Errorf("proved: %t, want %t", got, c.stays)
			}
			sent := len(w.sent)
			q.send(request[len(request)/2:])
			if got := len(w.sent) > sent; got != (c.stays && c.other) {
				t.Errorf("the request has a challenge: %t", got)
			}
			p.begin("10.0.0.7")
			p.send(p.requestPorts())
			p.send(p.responsePorts())
			if want := map[bool]int{false: 1, true: 2}[c.stays]; len(w.proofs) != want {
				t.Errorf("%d proofs, want %d", len(w.proofs), want)
			}
		})
	}
}

func TestChallengesAreLimitedInSum(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, func(c *Config) { c.Rate = 100 }, o)
	a := netip.MustParseAddr("203.0.113.0")
	for range 1000 {
		a = a.Next()
		p := w.newClient(o, "10.0.0.7", a.String(), fixed(5000))
		p.send(p.requestPorts())
	}
	elapsed := w.now.Sub(start).Seconds()
	if got := float64(len(w.sent)); got > 10+100*elapsed+1 || got < 100*elapsed-1 {
		t.Errorf("%v challenges in %v seconds", got, elapsed)
	}
	if s := w.Stats(); s[Answered] != uint64(len(w.sent)) || s[Answered]+s[RateLimited] != 1000 {
		t.Errorf("%v", s)
	}
}
