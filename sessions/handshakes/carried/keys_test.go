package carried

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// person has a private key.
type person struct {
	public  exchange.PublicKey
	private ed25519.PrivateKey
}

func newPerson(t *testing.T) (p person) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return person{exchange.PublicKey{Key: [ed25519.PublicKeySize]byte(public)}, private}
}

// touch signs as a security key does, with these flags and this counter.
func (p person) touch(data []byte, flags byte, counter uint32) []byte {
	application, message := sha256.Sum256([]byte(p.public.Application)), sha256.Sum256(data)
	rest := binary.BigEndian.AppendUint32([]byte{flags}, counter)
	return append(ed25519.Sign(p.private, slices.Concat(application[:], rest, message[:])), rest...)
}

// signedBy returns the two ends of an operation with keys.
func signedBy(t *testing.T, id string, host *exchange.HostKey, keys ...exchange.PublicKey) signer {
	t.Helper()
	o, err := exchange.NewSignedOperation(id, host, keys, false)
	if err != nil {
		t.Fatal(err)
	}
	client, err := exchange.DescribeOperation(id, exchange.Mutual, false)
	if err == nil {
		client, err = client.WithHost(host.Public(), keys[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{operation: o, client: client}
}

func newHost(t *testing.T) *exchange.HostKey {
	t.Helper()
	host, err := exchange.NewHostKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// TestSecurityKey: a model of a security key opens if it was touched, or if the key's line
// permits that it was not; and if it verified its user, where the line requires that. The
// counter has no meaning, also if it goes back.
func TestSecurityKey(t *testing.T) {
	host, x := newHost(t), carrier.Exchange(0)
	for _, c := range []struct {
		noTouch, verify bool
		flags           byte
		counter         uint32
		opens           bool
	}{
		{false, false, 1, 9, true}, {false, false, 1, 3, true}, {false, false, 5, 0, true}, {false, false, 0, 10, false}, {false, false, 4, 10, false},
		{true, false, 0, 1, true}, {true, false, 1, 1, true},
		{false, true, 1, 1, false}, {false, true, 5, 1, true}, {true, true, 4, 1, true}, {true, true, 0, 1, false},
	} {
		p := newPerson(t)
		p.public.Application, p.public.NoTouch, p.public.VerifyRequired = "ssh:", c.noTouch, c.verify
		s := signedBy(t, "ssh-alice", host, newSecurityKey(t), p.public)
		h := newHarness(t, nil, s.operation)
		x++
		client := s.begin(h, x)
		a := client.answer()
		client.respond(p.touch(a.ToSign, c.flags, c.counter))
		if len(h.proofs) != map[bool]int{true: 1}[c.opens] {
			t.Errorf("%+v: %d proofs, %v", c, len(h.proofs), h.Stats())
		}
	}
}

func newSecurityKey(t *testing.T) exchange.PublicKey {
	t.Helper()
	k := newPerson(t).public
	k.Application = "ssh:"
	return k
}

// TestSecurityKeyForges: the private half of a security key cannot leave out what the key
// adds, and its flags are signed.
func TestSecurityKeyForges(t *testing.T) {
	p := newPerson(t)
	p.public.Application = "ssh:"
	s := signedBy(t, "ssh-alice", newHost(t), p.public)
	other := p
	other.public.Application = "ssh:other"
	for name, sign := range map[string]func([]byte) []byte{
		"as a plain key":      func(d []byte) []byte { return append(ed25519.Sign(p.private, d), 1, 0, 0, 0, 1) },
		"with other flags":    func(d []byte) []byte { r := p.touch(d, 0, 1); r[exchange.SignatureSize] = 1; return r },
		"another application": func(d []byte) []byte { return other.touch(d, 1, 1) },
		"without the counter": func(d []byte) []byte { return p.touch(d, 1, 1)[:exchange.SignatureSize] },
	} {
		h := newHarness(t, nil, s.operation)
		client := s.begin(h, 1)
		client.respond(sign(client.answer().ToSign))
		if len(h.proofs) != 0 {
			t.Errorf("%s: a proof", name)
		}
	}
}

// TestKeyOfTwoOperations: a signature for one operation is none for another one with the
// same key and the same host key.
func TestKeyOfTwoOperations(t *testing.T) {
	p, host := newPerson(t), newHost(t)
	one, two := signedBy(t, "web-alice", host, p.public), signedBy(t, "ssh-alice", host, p.public)
	h := newHarness(t, nil, one.operation, two.operation)
	for x, swapped := range []bool{true, false} {
		a, b := one.begin(h, carrier.Exchange(2*x)), two.begin(h, carrier.Exchange(2*x+1))
		first, second := ed25519.Sign(p.private, a.answer().ToSign), ed25519.Sign(p.private, b.answer().ToSign)
		if swapped {
			first, second = second, first
		}
		a.respond(first)
		b.respond(second)
		if want := map[bool]int{false: 2}[swapped]; len(h.proofs) != want {
			t.Errorf("swapped %v: %d proofs", swapped, len(h.proofs))
		}
		h.now = h.now.Add(time.Second)
	}
	if h.proofs[0].Operation() != one.operation || h.proofs[1].Operation() != two.operation {
		t.Error("proofs of other operations")
	}
}

// TestRemovedKey: an exchange in progress ends when its key is removed; and a later one
// opens nothing, while the key that stays does.
func TestRemovedKey(t *testing.T) {
	alice, bob, host := newPerson(t), newPerson(t), newHost(t)
	before, after := signedBy(t, "web-staff", host, alice.public, bob.public), signedBy(t, "web-staff", host, bob.public)
	h := newHarness(t, nil, before.operation)
	c := before.begin(h, 1)
	a := c.answer()
	h.Update(operationsOf(t, after.operation))
	c.respond(ed25519.Sign(alice.private, a.ToSign))
	for x, p := range []person{alice, bob} {
		c := after.begin(h, carrier.Exchange(2+x))
		c.respond(ed25519.Sign(p.private, c.answer().ToSign))
		if len(h.proofs) != x {
			t.Errorf("exchange %d: %d proofs", x, len(h.proofs))
		}
	}
	if k := h.proofs[0].Key(); k == nil || k.Key != bob.public.Key {
		t.Errorf("the proof is of %v", k)
	}
}
