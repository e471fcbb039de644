package handshakes

import (
	"bytes"
	"crypto/rand"
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

// world is a table, and what it has done.
type world struct {
	t testing.TB
	*Table
	operations *exchange.Operations
	sent       []sent
	granted    []exchange.Proof
	now        time.Time
	public6    netip.Addr // of the server, if it has one
}

func newWorld(t testing.TB, change func(*Config), list ...*exchange.Operation) *world {
	t.Helper()
	w := &world{t: t, now: start}
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
		Grant: func(g exchange.Proof, _ netip.Addr) { w.granted = append(w.granted, g) },
	}
	if change != nil {
		change(&cfg)
	}
	if w.Table, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) send(source netip.AddrPort, port uint16) {
	w.now = w.now.Add(100 * time.Microsecond)
	w.Take(source, netip.AddrPortFrom(w.as(source.Addr()), port), w.now)
}

// peer is a client, with the ports that its NAT gives to its packets.
type peer struct {
	w         *world
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

func (w *world) peer(o *exchange.Operation, self, public string, port func() uint16) *peer {
	w.t.Helper()
	p := &peer{w: w, operation: o, public: netip.MustParseAddr(public), port: port}
	p.begin(self)
	return p
}

// as is the server's address as a client with that address knows it.
func (w *world) as(self netip.Addr) netip.Addr {
	if self.Is6() {
		return w.public6
	}
	return server
}

// begin starts over.
func (p *peer) begin(self string) {
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	var err error
	if p.client, err = exchange.NewInitiator(p.operation, netip.MustParseAddr(self), p.w.as(netip.MustParseAddr(self)), nonce); err != nil {
		p.w.t.Fatal(err)
	}
}

func (p *peer) ports(e challenge.Encoding, message []byte) []uint16 {
	p.w.t.Helper()
	c, err := e.Codec(len(message))
	if err != nil {
		p.w.t.Fatal(err)
	}
	ports, err := c.AppendPorts(nil, message)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return ports
}

func (p *peer) requestPorts() []uint16 { return p.ports(plan.Request, p.client.Request()) }

// source is where the next packet comes from.
func (p *peer) source() netip.AddrPort { return netip.AddrPortFrom(p.public, p.port()) }

func (p *peer) send(ports []uint16) (last netip.AddrPort) {
	for _, port := range ports {
		last = p.source()
		p.w.send(last, port)
	}
	return last
}

// answer reads the last challenge, which has to be for this peer.
func (p *peer) answer() exchange.Answer {
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

func (p *peer) responsePorts() []uint16 { return p.ports(plan.Response, p.answer().Response) }

func TestExchange(t *testing.T) {
	for name, port := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
		for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
			t.Run(name, func(t *testing.T) {
				o := operation(t, "ssh-alice", a, false)
				w := newWorld(t, nil, operation(t, "ssh-bob-1", a, false), o, operation(t, "web-alice-", a, false))
				self := "10.0.0.7"
				if a == exchange.Unilateral {
					self = "203.0.113.9"
				}
				p := w.peer(o, self, "203.0.113.9", port)
				last := p.send(p.requestPorts())
				if len(w.sent) != 1 || w.sent[0].to != last || w.sent[0].from != netip.AddrPortFrom(server, p.requestPorts()[len(p.requestPorts())-1]) {
					t.Fatalf("sent %v after %s", w.sent, last)
				}
				p.send(p.responsePorts())
				if len(w.granted) != 1 || w.granted[0].Client() != p.public || w.granted[0].Operation() != o {
					t.Fatalf("granted %v", w.granted)
				}
				// It was good once.
				p.send(p.responsePorts())
				if len(w.granted) != 1 || len(w.sent) != 1 {
					t.Errorf("granted %v, sent %v", w.granted, w.sent)
				}
				if n := w.Stats()[Verified]; n != 1 {
					t.Errorf("%d proved", n)
				}
			})
		}
	}
}

// several are operations whose requests are of several kinds.
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
		w := newWorld(t, nil, all...)
		port := fixed(5000)
		if mrand.IntN(2) == 0 {
			port = symmetric(5000)
		}
		self := "10.0.0.7"
		if o.Algorithm() == exchange.Unilateral {
			self = "203.0.113.9"
		}
		p := w.peer(o, self, "203.0.113.9", port)
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
		if len(w.granted) != 1 || w.granted[0].Operation() != o {
			t.Fatalf("%s: granted %v", o.ID(), w.granted)
		}
	}
}

// TestLossStartsOver has each packet be lost once.
func TestLossStartsOver(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	for _, stable := range []bool{true, false} {
		w := newWorld(t, nil, o)
		sockets := uint16(5000)
		attempt := func() *peer {
			sockets += 100
			port := fixed(sockets)
			if !stable {
				port = symmetric(sockets)
			}
			return w.peer(o, "10.0.0.7", "203.0.113.9", port)
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
			if len(w.granted) != 1 {
				t.Fatalf("stable %v, packet %d: %d grants", stable, lost, len(w.granted))
			}
			w.sent, w.granted = nil, nil
			w.now = w.now.Add(time.Minute)
		}
	}
}

// TestTwoBehindOneAddress speak at the same time.
func TestTwoBehindOneAddress(t *testing.T) {
	alice, bob := operation(t, "ssh-alice", exchange.NATAware, false), operation(t, "ssh-bob-1", exchange.NATAware, false)
	w := newWorld(t, nil, alice, bob)
	a := w.peer(alice, "10.0.0.7", "203.0.113.9", fixed(5000))
	b := w.peer(bob, "10.0.0.8", "203.0.113.9", fixed(6000))
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
	if len(w.granted) != 2 || w.granted[0].Operation() != alice || w.granted[1].Operation() != bob {
		t.Errorf("granted %v", w.granted)
	}
}

// TestWrongPacketsEndIt: of a response each packet counts, and another address,
// port of the server or operation does not.
func TestWrongPacketsEndIt(t *testing.T) {
	o, other := operation(t, "ssh-alice", exchange.NATAware, false), operation(t, "ssh-bob-1", exchange.NATAware, false)
	begin := func() (*world, *peer, []uint16) {
		w := newWorld(t, nil, o, other)
		p := w.peer(o, "10.0.0.7", "203.0.113.9", fixed(5000))
		p.send(p.requestPorts())
		return w, p, p.responsePorts()
	}
	t.Run("every guess", func(t *testing.T) {
		w, p, response := begin()
		p.send(response[:5])
		p.send([]uint16{response[5] ^ 1})
		p.send(response)
		if len(w.granted) != 0 || w.Stats()[Refused] != 1 {
			t.Errorf("granted %v", w.granted)
		}
	})
	t.Run("all ports", func(t *testing.T) {
		w, p, _ := begin()
		for port := 1; port < 65536; port++ {
			p.send([]uint16{uint16(port)})
		}
		if len(w.granted) != 0 {
			t.Errorf("granted %v", w.granted)
		}
	})
	t.Run("another address", func(t *testing.T) {
		w, _, response := begin()
		thief := w.peer(o, "10.0.0.7", "203.0.113.10", fixed(5000))
		thief.send(thief.requestPorts())
		thief.send(response)
		if len(w.granted) != 0 {
			t.Errorf("granted %v", w.granted)
		}
	})
	t.Run("another operation", func(t *testing.T) {
		w, p, response := begin()
		q := w.peer(other, "10.0.0.7", p.public.String(), fixed(6000))
		q.send(q.requestPorts())
		q.send(response)
		if len(w.granted) != 0 {
			t.Errorf("granted %v", w.granted)
		}
		// From one port each response is held against its own challenge.
		q = w.peer(other, "10.0.0.7", p.public.String(), fixed(5000))
		q.send(q.requestPorts())
		p.send(response)
		if len(w.granted) != 1 || w.granted[0].Operation() != o {
			t.Errorf("granted %v", w.granted)
		}
	})
	t.Run("another address of the server", func(t *testing.T) {
		w, p, response := begin()
		for _, port := range response {
			w.Take(p.source(), netip.AddrPortFrom(server.Next(), port), w.now)
		}
		if len(w.granted) != 0 {
			t.Errorf("granted %v", w.granted)
		}
		p.send(response)
		if len(w.granted) != 1 {
			t.Errorf("granted %v", w.granted)
		}
	})
	t.Run("too late", func(t *testing.T) {
		w, p, response := begin()
		w.now = w.now.Add(responseTime)
		p.send(response)
		if len(w.granted) != 0 {
			t.Errorf("granted %v", w.granted)
		}
	})
}

func TestUnknownRequestsAreNotAnswered(t *testing.T) {
	known := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newWorld(t, nil, known)
	for _, id := range []string{"ssh-alicf", "tsh-alice", "ssh-a", "ssh-bob-12"} {
		p := w.peer(operation(t, id, exchange.NATAware, false), "10.0.0.7", "203.0.113.9", fixed(5000))
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
	w := newWorld(t, func(c *Config) { c.Public4 = public }, o)
	p := w.peer(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	var err error
	if p.client, err = exchange.NewInitiator(o, netip.MustParseAddr("10.0.0.7"), public, [exchange.NonceSize]byte{}); err != nil {
		t.Fatal(err)
	}
	p.send(p.requestPorts())
	if got := p.answer().Port; got != 40000 {
		t.Errorf("port %d", got)
	}
	p.send(p.responsePorts())
	if len(w.granted) != 1 || w.granted[0].Port() != 40000 {
		t.Errorf("granted %v", w.granted)
	}
}

func TestUpdateEndsWhatHasBegun(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newWorld(t, nil, o)
	p := w.peer(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	p.send(p.requestPorts())
	response := p.responsePorts()
	none, err := exchange.NewOperations([]*exchange.Operation{operation(t, "ssh-bob-1", exchange.NATAware, false)}, plan)
	if err != nil {
		t.Fatal(err)
	}
	w.Update(none)
	p.send(response)
	p.begin("10.0.0.7")
	p.send(p.requestPorts())
	if len(w.granted) != 0 || len(w.sent) != 1 {
		t.Errorf("granted %v, sent %d", w.granted, len(w.sent))
	}
}

func TestChallengesAreLimitedInSum(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newWorld(t, func(c *Config) { c.Rate = 100 }, o)
	a := netip.MustParseAddr("203.0.113.0")
	for range 1000 {
		a = a.Next()
		p := w.peer(o, "10.0.0.7", a.String(), fixed(5000))
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
