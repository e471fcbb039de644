package handshakes

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

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
	operation         *exchange.Operation
	request, response []uint16
	challenge         []byte
}

func (p *peer) overhear() (o overheard) {
	p.w.t.Helper()
	o.operation = p.operation
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
func (w *world) listenedTo(o *exchange.Operation) overheard {
	w.t.Helper()
	a := o.Algorithm()
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
		o := operation(t, "ssh-alice", a, false)
		w := newWorld(t, nil, o)
		test(t, a, w, w.listenedTo(o))
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
