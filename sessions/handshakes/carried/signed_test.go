package carried

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions/handshakes/limit"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// signer is the client of an operation with public keys, of which it has the last.
type signer struct {
	operation, client *exchange.Operation
	private           ed25519.PrivateKey
}

func newSigner(t testing.TB, id string, keys int) (s signer) {
	t.Helper()
	host, err := exchange.NewHostKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]exchange.PublicKey, keys)
	for i := range all {
		var public ed25519.PublicKey
		if public, s.private, err = ed25519.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
		all[i].Key = [ed25519.PublicKeySize]byte(public)
	}
	if s.operation, err = exchange.NewSignedOperation(id, host, all, false); err != nil {
		t.Fatal(err)
	}
	if s.client, err = exchange.DescribeOperation(id, exchange.Mutual, false); err == nil {
		s.client, err = s.client.WithHost(host.Public(), all[keys-1])
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begin begins an exchange for a connection.
func (s signer) begin(h *harness, x carrier.Exchange) *testClient {
	h.t.Helper()
	var secret [exchange.KeySize]byte
	rand.Read(secret[:])
	i, err := exchange.NewSigningInitiator(s.client, carrier.ClientOf(x), site, secret)
	if err != nil {
		h.t.Fatal(err)
	}
	return &testClient{h: h, operation: s.operation, listener: h.web, initiator: i, kind: carrier.RequestConnection, x: x, request: h.message(carrier.RequestConnection, x, i.Request())}
}

// TestSignedExchange: a signature proves once, and leaves a ticket; a wrong one ends the
// exchange.
func TestSignedExchange(t *testing.T) {
	s := newSigner(t, "ssh-alice", 3)
	h := newHarness(t, nil, newOperation(t, "web-alice", exchange.NATAware, false), s.operation)
	for x, right := range []bool{true, false} {
		c := s.begin(h, carrier.Exchange(x))
		a := c.answer()
		response := ed25519.Sign(s.private, a.ToSign)
		if again, ok := c.ask(); !ok || len(again) == 0 {
			t.Error("the request again has no challenge")
		}
		if !right {
			response[0] ^= 1
		}
		c.respond(response)
		response = ed25519.Sign(s.private, a.ToSign)
		c.respond(response)
		if _, ok := h.Take(c.x, a.Ticket, h.now); ok != right || len(h.proofs) != 1 {
			t.Errorf("right %t: a ticket %t, %d proofs, %v", right, ok, len(h.proofs), h.Stats())
		}
		h.now = h.now.Add(time.Second)
	}
	// A key of small order, which no client sends.
	weak := h.message(carrier.RequestConnection, 9, append([]byte("ssh-alice"), make([]byte, exchange.KeySize)...))
	before := h.Stats()
	_, ok := h.web.Request(nil, weak, carrier.ClientOf(9), h.now)
	if ok || h.Stats()[Unmatched] != before[Unmatched]+1 {
		t.Errorf("a weak key: %v", h.Stats())
	}
}

// TestWorkInSum: all challenges together, also those of the reserve, cause no more
// computations than the table has.
func TestWorkInSum(t *testing.T) {
	var operations []*exchange.Operation
	var signers []signer
	for _, id := range []string{"ssh-alice", "ssh-bob-1", "ssh-carol"} {
		s := newSigner(t, id, 4)
		signers, operations = append(signers, s), append(operations, s.operation)
	}
	h := newHarness(t, func(c *Config) { c.Slots = DefaultSlots }, operations...)
	for _, s := range signers {
		for i := range 64 {
			h.storage.reserve.Add(s.operation, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), h.now)
		}
	}
	var clients []*testClient
	for _, s := range signers {
		c := s.begin(h, 1)
		c.request = h.message(carrier.Request4, c.x, c.initiator.Request())
		clients = append(clients, c)
	}
	const seconds = 3
	work := 0
	for i := range seconds * 1000 {
		h.now = h.now.Add(time.Second / 1000)
		c := clients[i%3]
		c.request.Exchange, c.address = carrier.Exchange(i), netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 64)})
		if _, ok := c.ask(); ok {
			work += c.operation.Work()
		}
	}
	if most := limit.KeyWork*seconds + limit.KeyWork/2; work > most || work < limit.KeyWork*seconds*3/4 {
		t.Errorf("%d computations in %d seconds, want at most %d", work, seconds, most)
	}
}

// TestWorkIsDivided: a flood of requests for one operation with public keys causes a
// limited number of computations, and neither keeps out another such operation nor one with
// a secret.
func TestWorkIsDivided(t *testing.T) {
	flooded, other := newSigner(t, "ssh-alice", exchange.MaxKeys), newSigner(t, "ssh-bob-1", exchange.MaxKeys)
	plain := newOperation(t, "web-alice", exchange.NATAware, false)
	h := newHarness(t, func(c *Config) { c.Slots = DefaultSlots }, plain, flooded.operation, other.operation)
	c, x := flooded.begin(h, 1000), carrier.Exchange(1000)
	challenges := 0
	const seconds = 5
	for range seconds * 1000 {
		h.now = h.now.Add(time.Millisecond)
		x++
		c.request.Exchange = x
		if _, ok := c.ask(); ok {
			challenges++
		}
	}
	work := challenges * flooded.operation.Work()
	if most := limit.KeyWork * (seconds + 1); work == 0 || work > most {
		t.Errorf("%d computations in %d seconds, want at most %d", work, seconds, most)
	}
	if _, ok := other.begin(h, 1).ask(); !ok {
		t.Error("another operation with public keys is kept out")
	}
	if _, ok := h.client(plain, carrier.RequestConnection, 2).ask(); !ok {
		t.Error("an operation with a secret is kept out")
	}
}
