package exchanges

import (
	"bytes"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// These are attacks of the paper (sections 2, 5 and 6.2.1). The attacker hears
// and holds back what he likes, and sends from any address; he has no secret.

const (
	victim   = "203.0.113.9"
	attacker = "203.0.113.66"
)

// overheard is an exchange of a client, to its end, as the attacker knows it.
type overheard struct {
	request, response []uint16
	challenge         []byte
}

func (p *peer) overhear() (o overheard) {
	p.w.t.Helper()
	o.request = p.requestPorts()
	p.send(o.request)
	o.challenge = p.w.sent[len(p.w.sent)-1].payload
	o.response = p.responsePorts()
	p.send(o.response)
	return o
}

// from sends packets in somebody's name.
func (w *world) from(source string, port uint16, ports []uint16) {
	for _, p := range ports {
		w.send(netip.AddrPortFrom(netip.MustParseAddr(source), port), p)
	}
}

// begin is an exchange that was granted once, and listened to.
func (w *world) listenedTo(a exchange.Algorithm) overheard {
	w.t.Helper()
	o := operation(w.t, "ssh-alice", a, false)
	self := "10.0.0.7"
	if a == exchange.Unilateral {
		self = victim
	}
	heard := w.peer(o, self, victim, fixed(5000)).overhear()
	if len(w.granted) != 1 {
		w.t.Fatalf("granted %v", w.granted)
	}
	w.granted = nil
	return heard
}

func everyAlgorithm(t *testing.T, test func(t *testing.T, a exchange.Algorithm, w *world, heard overheard)) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		w := newWorld(t, nil, operation(t, "ssh-alice", a, false))
		test(t, a, w, w.listenedTo(a))
	}
}

// TestReplayedRequest gets a challenge, which is no good to who has no secret:
// the response to another one is not the response to it.
func TestReplayedRequest(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *world, heard overheard) {
		for _, source := range []string{attacker, victim} {
			before := len(w.sent)
			w.from(source, 6000, heard.request)
			if len(w.sent) != before+1 || bytes.Contains(w.sent[before].payload, heard.challenge[len(heard.challenge)-exchange.NonceSize:]) {
				t.Fatalf("algorithm %d: the challenge is not new", a)
			}
			w.from(source, 6000, heard.response)
			if len(w.granted) != 0 {
				t.Errorf("algorithm %d: %s was let in", a, source)
			}
		}
	})
}

// TestReplayedResponse: plain-text and one-time tokens that are still good are
// the flaw of systems that the paper examines, time windows as Barham's among
// them. Here nothing waits for it, whenever it comes.
func TestReplayedResponse(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *world, heard overheard) {
		for _, after := range []time.Duration{0, time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
			w.now = w.now.Add(after)
			for _, source := range []string{attacker, victim} {
				w.from(source, 5000, heard.response)
				w.from(source, 5000, slices.Concat(heard.request, heard.response))
			}
		}
		if len(w.granted) != 0 {
			t.Errorf("algorithm %d: granted %v", a, w.granted)
		}
	})
}

// TestReplayedCommand: Doyle's system decrypts what comes, and does it, so who
// takes a client's address can play its commands again, to open or to close.
func TestReplayedCommand(t *testing.T) {
	open, shut := operation(t, "ssh-open-", exchange.NATAware, false), operation(t, "ssh-close", exchange.NATAware, false)
	w := newWorld(t, nil, open, shut)
	opened, closed := w.peer(open, "10.0.0.7", victim, fixed(5000)).overhear(), w.peer(shut, "10.0.0.7", victim, fixed(5001)).overhear()
	if len(w.granted) != 2 {
		t.Fatalf("granted %v", w.granted)
	}
	for _, o := range []overheard{opened, closed} {
		for _, p := range []overheard{opened, closed} {
			w.from(victim, 5002, slices.Concat(o.request, p.response))
		}
	}
	if len(w.granted) != 2 {
		t.Errorf("granted %v", w.granted[2:])
	}
}

// TestGlobalSecretReaches no further than what it is for: each operation has
// its own, and a client can ask for nothing that is not configured.
func TestGlobalSecretReaches(t *testing.T) {
	mine, other := operation(t, "web-for-all", exchange.NATAware, false), operation(t, "ssh-alice", exchange.NATAware, false)
	w := newWorld(t, nil, mine, other)
	// Who knows the secret of one asks for the other with it, and for a third.
	for _, id := range []string{"ssh-alice", "root-shell"} {
		stolen, err := exchange.NewOperation(id, "secret of web-for-all", exchange.NATAware, false)
		if err != nil {
			t.Fatal(err)
		}
		p := w.peer(stolen, "10.0.0.7", attacker, fixed(5000))
		p.send(p.requestPorts())
		for _, s := range w.sent {
			if _, err := p.client.Answer(s.payload); !errors.Is(err, exchange.ErrNotAuthentic) {
				t.Errorf("%s: %v", id, err)
			}
			// He answers all the same.
			last := s.payload[len(s.payload)-exchange.NonceSize:]
			r, err := exchange.ParseRequest(stolen, false, p.client.Request())
			if err != nil {
				t.Fatal(err)
			}
			forged, _, err := r.Challenge(nil, p.public, server, [exchange.NonceSize]byte(last), 0)
			if err != nil {
				t.Fatal(err)
			}
			a, err := p.client.Answer(forged)
			if err != nil {
				t.Fatal(err)
			}
			p.send(p.ports(plan.Response, a.Response))
		}
		w.sent = nil
	}
	if len(w.granted) != 0 {
		t.Errorf("granted %v", w.granted)
	}
}

// TestGrandmaster (section 6.2.1): the attacker asks, and has the client answer
// his challenge in its own exchange.
func TestGrandmaster(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newWorld(t, nil, o)
		self := "10.0.0.7"
		if a == exchange.Unilateral {
			self = victim
		}
		p := w.peer(o, self, victim, fixed(5000))
		request := p.requestPorts() // held back
		w.from(attacker, 6000, request)
		if len(w.sent) != 1 {
			t.Fatalf("%d challenges", len(w.sent))
		}
		answer, err := p.client.Answer(w.sent[0].payload)
		switch {
		case a == exchange.Unilateral && err != nil:
			t.Fatal(err) // it covers the addresses in the response instead
		case a == exchange.Unilateral:
			w.from(attacker, 6000, p.ports(plan.Response, answer.Response))
		case a != exchange.Unilateral && err == nil && answer.Public.String() == attacker:
			// The challenge names the attacker's address, by the server's own
			// word: to a client it is a NAT's. What it opens is open for that
			// address, as the paper says; the attacker cannot make it the client's.
			w.from(victim, 5000, p.ports(plan.Response, answer.Response))
			if len(w.granted) != 0 {
				t.Errorf("algorithm %d: granted %v", a, w.granted)
			}
			continue
		default:
			t.Errorf("algorithm %d: %v, %v", a, answer, err)
		}
		if len(w.granted) != 0 {
			t.Errorf("algorithm %d: granted %v", a, w.granted)
		}
	}
}

// TestSubstitutedChallenge: the attacker holds a challenge back, and puts his
// own in its place, or parts of it.
func TestSubstitutedChallenge(t *testing.T) {
	for a := exchange.NATAware; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newWorld(t, nil, o)
		p := w.peer(o, "10.0.0.7", victim, fixed(5000))
		p.send(p.requestPorts())
		// The attacker's exchange is for another client behind his own address.
		his := w.peer(o, "10.0.0.8", attacker, fixed(6000))
		his.send(his.requestPorts())
		if len(w.sent) != 2 {
			t.Fatalf("%d challenges", len(w.sent))
		}
		real, other := w.sent[0].payload, w.sent[1].payload
		if _, err := p.client.Answer(other); !errors.Is(err, exchange.ErrNotAuthentic) {
			t.Errorf("algorithm %d: the attacker's challenge is answered: %v", a, err)
		}
		// His address, with the MAC for the client's.
		if _, err := p.client.Answer(slices.Concat(other[:4], real[4:])); !errors.Is(err, exchange.ErrNotAuthentic) {
			t.Errorf("algorithm %d: an address without its MAC: %v", a, err)
		}
		// His nonce in the client's challenge: the response is for the client's
		// address, and good for nothing of his.
		mixed := slices.Concat(real[:len(real)-exchange.NonceSize], other[len(other)-exchange.NonceSize:])
		answer, err := p.client.Answer(mixed)
		if err != nil {
			t.Fatal(err)
		}
		w.from(attacker, 6000, p.ports(plan.Response, answer.Response))
		w.from(victim, 5000, p.ports(plan.Response, answer.Response))
		if len(w.granted) != 0 {
			t.Errorf("algorithm %d: granted %v", a, w.granted)
		}
	}
}

// TestImpersonatedServer: a challenge that the server once made is played to a
// client. Algorithm 2 answers it, to no harm; Algorithm 3 says nothing to who
// has not proved to be the server, now. Cryptknock, whose key exchange nobody
// authenticates, gives its secret to whoever stands between.
func TestImpersonatedServer(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *world, heard overheard) {
		o := operation(t, "ssh-alice", a, false)
		self := "10.0.0.7"
		if a == exchange.Unilateral {
			self = victim
		}
		p := w.peer(o, self, victim, fixed(5003))
		answer, err := p.client.Answer(heard.challenge)
		if a == exchange.Mutual {
			if !errors.Is(err, exchange.ErrNotAuthentic) || answer.Response != nil {
				t.Errorf("an old challenge is answered: %v, %v", answer, err)
			}
			// Nor to one that he makes without the secret.
			invented := make([]byte, o.ChallengeSize(false))
			rand.Read(invented)
			copy(invented, p.public.AsSlice())
			if answer, err = p.client.Answer(invented); err == nil || answer.Response != nil {
				t.Errorf("an invented challenge is answered: %v", answer)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		// The server has other challenges by now.
		w.from(victim, 5000, heard.request)
		w.from(victim, 5000, p.ports(plan.Response, answer.Response))
		if len(w.granted) != 0 {
			t.Errorf("algorithm %d: granted %v", a, w.granted)
		}
	})
}

// TestReflection: what the server says is played back to it.
func TestReflection(t *testing.T) {
	for a := exchange.NATAware; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newWorld(t, nil, o)
		p := w.peer(o, "10.0.0.7", victim, fixed(5000))
		p.send(p.requestPorts())
		payload := w.sent[0].payload
		for _, field := range [][]byte{payload[4 : 4+exchange.MACSize], payload[4+exchange.MACSize:]} {
			w.from(victim, 5000, p.ports(plan.Response, field))
			p.begin("10.0.0.7")
			p.send(p.requestPorts())
		}
		if len(w.granted) != 0 {
			t.Errorf("algorithm %d: granted %v", a, w.granted)
		}
	}
}

// TestRandomPacketsPolluteNothing: systems that carry out what they decrypt make
// rules of noise. Here noise is never granted, whatever the encoding.
func TestRandomPacketsPolluteNothing(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newWorld(t, nil, o, operation(t, "web-alice", exchange.Mutual, true))
	for range 50 {
		randomPackets(w, 2000)
		for port := range uint16(2000) {
			w.from(attacker, 1000+port%7, []uint16{plan.Ports.First + port*7})
		}
		w.now = w.now.Add(time.Second)
	}
	if len(w.granted) != 0 || len(w.sent) != 0 {
		t.Errorf("granted %v, %d challenges", w.granted, len(w.sent))
	}
}

// TestNarrowPacketsHideNoGuess: with a bit a packet, every packet is as good as
// guessed. One that is wrong ends the exchange all the same, so the whole has to
// be guessed at once, from whatever ports, in however many exchanges.
func TestNarrowPacketsHideNoGuess(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	narrow := challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 1},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 1},
		Ports:    plan.Ports,
	}
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, narrow)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.Operations = ops }, o)
	for round := range 20 {
		p := w.peer(o, "10.0.0.7", attacker, fixed(5000))
		request := p.ports(narrow.Request, p.client.Request())
		for source := range uint16(4) {
			w.from(attacker, 5000+source, request)
		}
		// Both values of every bit, from one port, or from each.
		for bit := range uint16(8 * exchange.ResponseSize) {
			for value := range uint16(2) {
				source := uint16(5000)
				if round%2 == 1 {
					source += (bit + value) % 4
				}
				w.from(attacker, source, []uint16{25600 + 2*bit + value})
			}
		}
		w.now = w.now.Add(time.Minute)
	}
	if len(w.granted) != 0 {
		t.Errorf("granted %v", w.granted)
	}
	if n := w.Stats()[Answered]; n < 20 {
		t.Errorf("%d challenges: the attacker had nothing to guess at", n)
	}
}

// FuzzTable has anything come, from a few addresses and ports, at any time: nobody
// is granted anything who has no secret, and the table holds.
func FuzzTable(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x73\x01\x01\x01\x73\x02\x00\x24\x00"))
	all := several(f)
	f.Fuzz(func(t *testing.T, packets []byte) {
		w := newWorld(t, func(c *Config) { c.Slots = MinSlots }, all...)
		for ; len(packets) >= 4; packets = packets[4:] {
			source := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, packets[0] & 7}), 1000+uint16(packets[0]>>3))
			w.now = w.now.Add(time.Duration(packets[1]) * 10 * time.Millisecond)
			port := plan.Ports.First + (uint16(packets[2])<<8|uint16(packets[3]))%14336
			w.Take(source, netip.AddrPortFrom(server, port), w.now)
		}
		if len(w.granted) != 0 {
			t.Errorf("granted %v", w.granted)
		}
	})
}

// TestNothingIsAmplified: in whatever way packets come from an address, what is
// sent there has no more bytes, headers included.
func TestNothingIsAmplified(t *testing.T) {
	const headers = 20 + 8
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, true)
		w := newWorld(t, nil, append(several(t)[1:], o)...)
		request := w.peer(o, victim, victim, fixed(5000)).requestPorts()
		in := 0
		send := func(source uint16, ports ...uint16) {
			in += len(ports) * headers
			w.now = w.now.Add(21 * time.Millisecond)
			w.from(victim, source, ports)
		}
		check := func(how string) {
			t.Helper()
			out := 0
			for _, s := range w.sent {
				out += headers + len(s.payload)
			}
			if out > in {
				t.Errorf("algorithm %d, %s: %d bytes answer %d", a, how, out, in)
			}
			if len(w.sent) == 0 {
				t.Errorf("algorithm %d, %s: nothing was answered", a, how)
			}
			w.sent, in = nil, 0
			w.now = w.now.Add(time.Minute)
		}
		last := len(request) - 1
		send(1000, request[:last]...)
		for i := range uint16(300) {
			send(2000+i, request[last])
			send(1000, request[0])
		}
		check("the last packet from new ports")
		for range 50 {
			for place := range request {
				for source := range uint16(3) {
					send(1000+source, request[place])
				}
			}
		}
		check("each packet from three ports")
		for i := range uint16(2000) {
			send(1000+i%5, request[mrand.IntN(len(request))])
		}
		send(1000, request...)
		check("any packet from five ports")
	}
}

// TestProvingIsNotDisturbed: who plays a client's request again, in its name,
// while it answers, does not end that.
func TestProvingIsNotDisturbed(t *testing.T) {
	for _, nat := range []func() uint16{fixed(5000), symmetric(5000)} {
		o := operation(t, "ssh-alice", exchange.NATAware, false)
		w := newWorld(t, nil, o)
		p := w.peer(o, "10.0.0.7", victim, nat)
		request := p.requestPorts()
		p.send(request)
		response := p.responsePorts()
		p.send(response[:5])
		p.send(request)
		p.send(response[5:])
		if len(w.granted) != 1 {
			t.Errorf("granted %v", w.granted)
		}
	}
}

// TestSlowResponse: with delays, a response may take longer than without.
func TestSlowResponse(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	slow := challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Delays, Base: 16384, DataBits: 8, Delay: 15 * time.Second},
		Response: challenge.Encoding{Scheme: challenge.Delays, Base: 25600, DataBits: 8, Delay: 15 * time.Second},
		Ports:    plan.Ports,
	}
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, slow)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.Operations = ops }, o)
	p := w.peer(o, "10.0.0.7", victim, fixed(5000))
	send := func(ports []uint16) {
		for _, port := range ports {
			p.send([]uint16{port})
			w.now = w.now.Add(15 * time.Second)
		}
	}
	send(p.ports(slow.Request, p.client.Request()))
	send(p.ports(slow.Response, p.answer().Response))
	if len(w.granted) != 1 {
		t.Errorf("granted %v", w.granted)
	}
}
