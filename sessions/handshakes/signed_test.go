package handshakes

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions/handshakes/limit"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// signer is a client of an operation with public keys.
type signer struct {
	operation *exchange.Operation
	private   ed25519.PrivateKey
}

// signers are the clients of the servers' operations.
var signers = map[*exchange.Operation]signer{}

func (s signer) begin(self, server netip.Addr) (*exchange.Initiator, error) {
	var secret [exchange.KeySize]byte
	rand.Read(secret[:])
	return exchange.NewSigningInitiator(s.operation, self, server, secret)
}

// signedOperation returns an operation with a number of public keys, of which signers
// has the last.
func signedOperation(t testing.TB, id string, keys int) *exchange.Operation {
	t.Helper()
	host, err := exchange.NewHostKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]exchange.PublicKey, keys)
	var private ed25519.PrivateKey
	for i := range all {
		var public ed25519.PublicKey
		if public, private, err = ed25519.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
		all[i].Key = [ed25519.PublicKeySize]byte(public)
	}
	o, err := exchange.NewSignedOperation(id, host, all, false)
	if err != nil {
		t.Fatal(err)
	}
	client, err := exchange.DescribeOperation(id, exchange.Mutual, false)
	if err == nil {
		client, err = client.WithHost(host.Public(), all[keys-1])
	}
	if err != nil {
		t.Fatal(err)
	}
	signers[o] = signer{client, private}
	t.Cleanup(func() { delete(signers, o) })
	return o
}

// signedPlan has room for signatures.
var signedPlan = challenge.Plan{
	Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8, Restart: 24},
	Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8, Restart: 20},
	Ports:    challenge.Ports{First: 16384, Last: 30719},
}

// TestSignedExchange: beside an operation with a secret, and behind a NAT that changes
// the ports. A replayed request does not end it, and a response is accepted once.
func TestSignedExchange(t *testing.T) {
	for name, port := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
		t.Run(name, func(t *testing.T) {
			o, other := signedOperation(t, "ssh-alice", 3), operation(t, "ssh-bob-1", exchange.NATAware, false)
			w := newHarnessFor(t, signedPlan, nil, other, o)
			p := w.newClient(o, "10.0.0.7", "203.0.113.9", port)
			request := p.requestPorts()
			p.send(request)
			response := p.responsePorts()
			p.send(response[:40])
			if name == "one port" {
				for range 2 * challengesPerPort {
					p.send(request)
				}
			}
			p.send(response[40:])
			if len(w.proofs) != 1 || w.proofs[0].Operation() != o || w.proofs[0].Client() != p.public || w.proofs[0].Key() == nil {
				t.Fatalf("proofs %v, %v", w.proofs, w.Stats())
			}
			p.send(response)
			q := w.newClient(other, "10.0.0.8", "203.0.113.10", port)
			q.send(q.requestPorts())
			q.send(q.responsePorts())
			if len(w.proofs) != 2 || w.proofs[1].Operation() != other || w.proofs[1].Key() != nil {
				t.Errorf("proofs %v, %v", w.proofs, w.Stats())
			}
		})
	}
}

// TestWrongSignatureEndsIt: by the last packet, at once.
func TestWrongSignatureEndsIt(t *testing.T) {
	o := signedOperation(t, "ssh-alice", 1)
	w := newHarnessFor(t, signedPlan, nil, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	p.send(p.requestPorts())
	response := p.responsePorts()
	last := len(response) - 1
	response[last] ^= 1
	p.send(response[:last])
	before := w.Stats()
	p.send(response[last:])
	response[last] ^= 1
	p.send(response)
	if s := w.Stats(); s[Refused] != before[Refused]+1 || len(w.proofs) != 0 || before[Refused] != 0 {
		t.Errorf("%v, %d proofs", s, len(w.proofs))
	}
}

// TestSmallOrderIsNotAnswered: a request whose key makes no secret.
func TestSmallOrderIsNotAnswered(t *testing.T) {
	o := signedOperation(t, "ssh-alice", 1)
	w := newHarnessFor(t, signedPlan, nil, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	p.send(p.ports(signedPlan.Request, append([]byte(o.ID()), make([]byte, exchange.KeySize)...)))
	if s := w.Stats(); len(w.sent) != 0 || s[Answered] != 0 || s[SendFailed] != 0 {
		t.Errorf("%d challenges, %v", len(w.sent), s)
	}
}

// TestKeyWorkIsBounded: a second of requests from everywhere costs no more than limit.KeyWork
// computations, for any number of keys; and it keeps out neither operations with a
// secret, nor a client that the server knows.
func TestKeyWorkIsBounded(t *testing.T) {
	for _, keys := range []int{1, exchange.MaxKeys} {
		o, other := signedOperation(t, "ssh-alice", keys), operation(t, "ssh-bob-1", exchange.NATAware, false)
		w := newHarnessFor(t, signedPlan, nil, other, o)
		known := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
		known.send(known.requestPorts())
		known.send(known.responsePorts())
		if len(w.proofs) != 1 {
			t.Fatalf("%d keys: %d proofs", keys, len(w.proofs))
		}
		w.now = w.now.Add(time.Second)
		w.sent = nil
		ports := known.requestPorts()
		for end := w.now.Add(time.Second); w.now.Before(end); w.now = w.now.Add(time.Second / 1500) {
			source := netip.AddrPortFrom(anyAddress(), 4000)
			for _, port := range ports {
				w.Receive(source, netip.AddrPortFrom(server, port), w.now)
			}
		}
		work := len(w.sent) * o.Work()
		if most := limit.KeyWork + limit.KeyWork/10; work > most || work < limit.KeyWork/2 {
			t.Errorf("%d keys: %d computations, expected about %d", keys, work, most)
		}
		for _, again := range []*exchange.Operation{o, other} {
			w.proofs, w.sent = nil, nil
			p := w.newClient(again, "10.0.0.7", "203.0.113.9", fixed(6000))
			p.send(p.requestPorts())
			p.send(p.responsePorts())
			if len(w.proofs) != 1 {
				t.Errorf("%d keys: %s: %d proofs after the flood, %v", keys, again.ID(), len(w.proofs), w.Stats())
			}
		}
	}
}

// TestUnprovedSignatures: packets of a signature that prove nothing protect no
// exchange from eviction, and are not counted as lost.
func TestUnprovedSignatures(t *testing.T) {
	o := signedOperation(t, "ssh-alice", 1)
	w := newHarnessFor(t, signedPlan, nil, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	p.send(p.requestPorts())
	p.send(p.responsePorts()[:60])
	for i := range w.slots {
		s := &w.slots[i]
		if s.State() != exchange.Challenged {
			continue
		}
		if s.priority(w.now.Add(time.Minute)) == proving || !s.answering() {
			t.Errorf("priority %d, answering %v", s.priority(w.now), s.answering())
		}
	}
	w.now = w.now.Add(time.Minute)
	for range 10 {
		w.Sweep(w.now)
		w.now = w.now.Add(time.Second)
	}
	if s := w.Stats(); s[ResponseIncomplete] != 0 {
		t.Errorf("%v", s)
	}
}

// TestRemovedKeyDuringExchange: an exchange in progress ends when its key is removed, and a
// later one with that key opens nothing.
func TestRemovedKeyDuringExchange(t *testing.T) {
	o, without := signedOperation(t, "ssh-alice", 2), signedOperation(t, "ssh-alice", 1)
	w := newHarnessFor(t, signedPlan, nil, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	p.send(p.requestPorts())
	response := p.responsePorts()
	p.send(response[:60])
	now, err := exchange.NewOperations([]*exchange.Operation{without}, signedPlan)
	if err != nil {
		t.Fatal(err)
	}
	w.Update(now)
	p.send(response[60:])
	p.send(response)
	if len(w.proofs) != 0 {
		t.Fatalf("%d proofs of a removed key", len(w.proofs))
	}
	w.now = w.now.Add(time.Minute)
	q := w.newClient(without, "10.0.0.7", "203.0.113.9", fixed(6000))
	q.send(q.requestPorts())
	q.send(q.responsePorts())
	if len(w.proofs) != 1 || w.proofs[0].Operation() != without {
		t.Errorf("%d proofs of the key that stays, %v", len(w.proofs), w.Stats())
	}
}
