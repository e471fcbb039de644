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

// The tests in this file are attacks of the paper (sections 2, 5 and 6.2.1). The
// attacker reads and delays any packet, and sends from any address, but has no
// secret.

const (
	victim   = "203.0.113.9"
	attacker = "203.0.113.66"
)

// overheard is a complete exchange of a client, as the attacker knows it.
type overheard struct {
	operation         *exchange.Operation
	request, response []uint16
	challenge         []byte
}

func (p *testClient) overhear() (o overheard) {
	p.w.t.Helper()
	o.operation = p.operation
	o.request = p.requestPorts()
	p.send(o.request)
	o.challenge = p.w.sent[len(p.w.sent)-1].payload
	o.response = p.responsePorts()
	p.send(o.response)
	return o
}

// from sends packets with a spoofed source.
func (w *harness) from(source string, port uint16, ports []uint16) {
	for _, p := range ports {
		w.send(netip.AddrPortFrom(netip.MustParseAddr(source), port), p)
	}
}

// listenedTo completes an exchange, and returns what the attacker has overheard.
func (w *harness) listenedTo(o *exchange.Operation) overheard {
	w.t.Helper()
	a := o.Algorithm()
	self := "10.0.0.7"
	if a == exchange.Unilateral {
		self = victim
	}
	heard := w.newClient(o, self, victim, fixed(5000)).overhear()
	if len(w.proofs) != 1 {
		w.t.Fatalf("proofs %v", w.proofs)
	}
	w.proofs = nil
	return heard
}

func everyAlgorithm(t *testing.T, test func(t *testing.T, a exchange.Algorithm, w *harness, heard overheard)) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newHarness(t, nil, o)
		test(t, a, w, w.listenedTo(o))
	}
}

// TestReplayedRequest: a replayed request gets a new challenge. The attacker
// cannot answer it without the secret; the overheard response is refused.
func TestReplayedRequest(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *harness, heard overheard) {
		for _, source := range []string{attacker, victim} {
			before := len(w.sent)
			w.from(source, 6000, heard.request)
			nonce := heard.challenge[len(heard.challenge)-exchange.NonceSize:]
			if len(w.sent) != before+1 || bytes.Contains(w.sent[before].payload, nonce) {
				t.Fatalf("algorithm %d: the challenge is not new", a)
			}
			w.from(source, 6000, heard.response)
			if len(w.proofs) != 0 {
				t.Errorf("algorithm %d: %s has a proof", a, source)
			}
		}
	})
}

// TestReplayedResponse: in systems that the paper examines, plain-text and
// one-time tokens are valid for some time, such as Barham's time windows. Here no
// challenge waits for a replayed response, at any time.
func TestReplayedResponse(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *harness, heard overheard) {
		for _, after := range []time.Duration{0, time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
			w.now = w.now.Add(after)
			for _, source := range []string{attacker, victim} {
				w.from(source, 5000, heard.response)
				w.from(source, 5000, slices.Concat(heard.request, heard.response))
			}
		}
		if len(w.proofs) != 0 {
			t.Errorf("algorithm %d: proofs %v", a, w.proofs)
		}
	})
}

// TestReplayedCommand: Doyle's system executes each command that it decrypts, so
// an attacker that takes a client's address can replay its commands, to open or to
// close. Here it cannot.
func TestReplayedCommand(t *testing.T) {
	open := operation(t, "ssh-open-", exchange.NATAware, false)
	shut := operation(t, "ssh-close", exchange.NATAware, false)
	w := newHarness(t, nil, open, shut)
	opened := w.newClient(open, "10.0.0.7", victim, fixed(5000)).overhear()
	closed := w.newClient(shut, "10.0.0.7", victim, fixed(5001)).overhear()
	if len(w.proofs) != 2 {
		t.Fatalf("proofs %v", w.proofs)
	}
	for _, o := range []overheard{opened, closed} {
		for _, p := range []overheard{opened, closed} {
			w.from(victim, 5002, slices.Concat(o.request, p.response))
		}
	}
	if len(w.proofs) != 2 {
		t.Errorf("proofs %v", w.proofs[2:])
	}
}

// TestSecretOpensItsOperationOnly: each operation has another secret, and a client
// can request only operations that are configured.
func TestSecretOpensItsOperationOnly(t *testing.T) {
	known := operation(t, "web-for-all", exchange.NATAware, false)
	other := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, nil, known, other)
	// An attacker with the secret of one operation requests the other with it, and
	// a third that does not exist.
	for _, id := range []string{"ssh-alice", "root-shell"} {
		stolen, err := exchange.NewOperation(id, "secret of web-for-all", exchange.NATAware, false)
		if err != nil {
			t.Fatal(err)
		}
		p := w.newClient(stolen, "10.0.0.7", attacker, fixed(5000))
		p.send(p.requestPorts())
		for _, s := range w.sent {
			if _, err := p.client.Answer(s.payload); !errors.Is(err, exchange.ErrNotAuthentic) {
				t.Errorf("%s: %v", id, err)
			}
			// The attacker answers the challenge with this secret.
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
	if len(w.proofs) != 0 {
		t.Errorf("proofs %v", w.proofs)
	}
}

// TestGrandmaster (section 6.2.1): the attacker sends a request, and passes the
// challenge to the client, which answers it as its own.
func TestGrandmaster(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newHarness(t, nil, o)
		self := "10.0.0.7"
		if a == exchange.Unilateral {
			self = victim
		}
		p := w.newClient(o, self, victim, fixed(5000))
		request := p.requestPorts() // the attacker delays it
		w.from(attacker, 6000, request)
		if len(w.sent) != 1 {
			t.Fatalf("%d challenges", len(w.sent))
		}
		answer, err := p.client.Answer(w.sent[0].payload)
		switch {
		case a == exchange.Unilateral && err != nil:
			t.Fatal(err) // here the response covers the addresses
		case a == exchange.Unilateral:
			w.from(attacker, 6000, p.ports(plan.Response, answer.Response))
		case a != exchange.Unilateral && err == nil && answer.Public.String() == attacker:
			// The challenge is authentic and has the attacker's address; to the
			// client that is the address of a NAT. As in the paper, the response
			// opens for that address; it is not valid for the client's.
			w.from(victim, 5000, p.ports(plan.Response, answer.Response))
			if len(w.proofs) != 0 {
				t.Errorf("algorithm %d: proofs %v", a, w.proofs)
			}
			continue
		default:
			t.Errorf("algorithm %d: %v, %v", a, answer, err)
		}
		if len(w.proofs) != 0 {
			t.Errorf("algorithm %d: proofs %v", a, w.proofs)
		}
	}
}

// TestSubstitutedChallenge: the attacker replaces a challenge, or parts of it,
// with another one.
func TestSubstitutedChallenge(t *testing.T) {
	for a := exchange.NATAware; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newHarness(t, nil, o)
		p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
		p.send(p.requestPorts())
		// The attacker's exchange is for another client behind the attacker's
		// address.
		second := w.newClient(o, "10.0.0.8", attacker, fixed(6000))
		second.send(second.requestPorts())
		if len(w.sent) != 2 {
			t.Fatalf("%d challenges", len(w.sent))
		}
		real, other := w.sent[0].payload, w.sent[1].payload
		if _, err := p.client.Answer(other); !errors.Is(err, exchange.ErrNotAuthentic) {
			t.Errorf("algorithm %d: the attacker's challenge is answered: %v", a, err)
		}
		// The attacker's address, with the MAC for the client's.
		forged := slices.Concat(other[:4], real[4:])
		if _, err := p.client.Answer(forged); !errors.Is(err, exchange.ErrNotAuthentic) {
			t.Errorf("algorithm %d: an address without its MAC: %v", a, err)
		}
		// The attacker's nonce in the client's challenge: the response is for the
		// client's address, and not valid for the attacker's.
		mixed := slices.Concat(real[:len(real)-exchange.NonceSize], other[len(other)-exchange.NonceSize:])
		answer, err := p.client.Answer(mixed)
		if err != nil {
			t.Fatal(err)
		}
		w.from(attacker, 6000, p.ports(plan.Response, answer.Response))
		w.from(victim, 5000, p.ports(plan.Response, answer.Response))
		if len(w.proofs) != 0 {
			t.Errorf("algorithm %d: proofs %v", a, w.proofs)
		}
	}
}

// TestImpersonatedServer: an attacker replays an old challenge to a client. With
// Algorithm 2 the client answers it, and the response is refused; with Algorithm 3
// the client does not answer, because the server has not proved itself in this
// exchange. Cryptknock, whose key exchange is not authenticated, gives its secret
// to an on-path attacker.
func TestImpersonatedServer(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *harness, heard overheard) {
		o := operation(t, "ssh-alice", a, false)
		self := "10.0.0.7"
		if a == exchange.Unilateral {
			self = victim
		}
		p := w.newClient(o, self, victim, fixed(5003))
		answer, err := p.client.Answer(heard.challenge)
		if a == exchange.Mutual {
			if !errors.Is(err, exchange.ErrNotAuthentic) || answer.Response != nil {
				t.Errorf("an old challenge is answered: %v, %v", answer, err)
			}
			// Nor does the client answer a challenge made without the secret.
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
		// The server has sent other challenges since.
		w.from(victim, 5000, heard.request)
		w.from(victim, 5000, p.ports(plan.Response, answer.Response))
		if len(w.proofs) != 0 {
			t.Errorf("algorithm %d: proofs %v", a, w.proofs)
		}
	})
}

// TestReflection: an attacker sends fields of the challenge back to the server.
func TestReflection(t *testing.T) {
	for a := exchange.NATAware; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newHarness(t, nil, o)
		p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
		p.send(p.requestPorts())
		payload := w.sent[0].payload
		for _, field := range [][]byte{payload[4 : 4+exchange.MACSize], payload[4+exchange.MACSize:]} {
			w.from(victim, 5000, p.ports(plan.Response, field))
			p.begin("10.0.0.7")
			p.send(p.requestPorts())
		}
		if len(w.proofs) != 0 {
			t.Errorf("algorithm %d: proofs %v", a, w.proofs)
		}
	}
}

// TestRandomPacketsOpenNothing: systems that execute what they decrypt make rules
// of random packets. Here random packets never make a proof.
func TestRandomPacketsOpenNothing(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, nil, o, operation(t, "web-alice", exchange.Mutual, true))
	for range 50 {
		randomPackets(w, 2000)
		for port := range uint16(2000) {
			w.from(attacker, 1000+port%7, []uint16{plan.Ports.First + port*7})
		}
		w.now = w.now.Add(time.Second)
	}
	if len(w.proofs) != 0 || len(w.sent) != 0 {
		t.Errorf("proofs %v, %d challenges", w.proofs, len(w.sent))
	}
}
