package daemon

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// proven is an operation, and what an exchange of it has proved.
type proven struct {
	operation
	grant exchange.Proof
}

func newProof(t *testing.T, id, client, service string) (p proven) {
	t.Helper()
	return proveRandom(t, id, client, service, 0)
}

// proveRandom is prove for an operation with a random port, unless it is 0.
func proveRandom(t *testing.T, id, client, service string, port uint16) (p proven) {
	t.Helper()
	return proveWith(t, id, client, service, port, 1)
}

// proveWith is proveRandom with a nonce, on which the initial sequence number depends.
func proveWith(t *testing.T, id, client, service string, port uint16, nonce byte) (p proven) {
	t.Helper()
	o, err := exchange.NewOperation(id, "secret of "+id, exchange.Unilateral, port != 0)
	if err != nil {
		t.Fatal(err)
	}
	grant := exchanged(t, o, port, nonce)
	return proven{operation{Operation: config.Operation{ID: id, Client: client, Service: service}, service: access.ID(service), protocol: o}, grant}
}

// exchanged makes an exchange, and returns its proof.
func exchanged(t *testing.T, o *exchange.Operation, port uint16, nonce byte) exchange.Proof {
	t.Helper()
	a, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	c, err := exchange.NewInitiator(o, a, server, [exchange.NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	request, err := exchange.ParseRequest(o, false, c.Request())
	if err != nil {
		t.Fatal(err)
	}
	challenge, pending, err := request.Challenge(nil, a, server, [exchange.NonceSize]byte{nonce}, port)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Answer(challenge)
	if err != nil {
		t.Fatal(err)
	}
	grant, ok := pending.Verify(answer.Response)
	if !ok {
		t.Fatal("not granted")
	}
	return grant
}

// anAddress is one of a /64, by number.
func anAddress(network, host uint32) netip.Addr {
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint32(b[4:], network)
	binary.BigEndian.PutUint32(b[12:], host)
	return netip.AddrFrom16(b)
}

// TestProofsWaitFairly: of a prover that proves operations again and again, from
// changing addresses, one proof waits for each service and family, and at most as
// many as a bucket allows; the proofs of every other prover wait as well.
func TestProofsWaitFairly(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		insider, closes, honest proven
		from                    func(i uint32) netip.Addr // of the insider
	}{
		"a client, that opens and closes by turns": {
			newProof(t, "ssh-evil-", "evil", "ssh"), newProof(t, "ssh-evil-close", "evil", "ssh"), newProof(t, "ssh-alice", "alic", "ssh"),
			func(i uint32) netip.Addr { return anAddress(i, i) },
		},
		"an operation without a client, and a /64": {
			newProof(t, "web-for-all", "", "web"), newProof(t, "web-closes-all", "", "web"), newProof(t, "web-for-some", "", "web"),
			func(i uint32) netip.Addr { return anAddress(7, i) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProofs(func() time.Time { return now })
			carriedOut, honest := 0, 0
			// Addresses share buckets of operations without a client by chance. There
			// are four thousand: the honest addresses have other buckets.
			taken := map[*sessions.Bucket]bool{}
			for _, o := range []proven{c.insider, c.closes} {
				taken[p.bucket(o.operation.prover(c.from(0)))] = true
			}
			last := netip.AddrFrom4([4]byte{10})
			next := func() netip.Addr {
				for last = last.Next(); taken[p.bucket(c.honest.operation.prover(last))]; last = last.Next() {
				}
				return last
			}
			for i := range uint32(10_000) { // a second of them, and a batch each 20 ms
				o := c.insider
				if i%2 == 1 {
					o = c.closes
				}
				p.put(o.operation, proof{o.grant, c.from(i), nil})
				if i%100 == 0 {
					p.put(c.honest.operation, proof{c.honest.grant, next(), nil})
				}
				now = now.Add(100 * time.Microsecond)
				if i%200 != 199 {
					continue
				}
				for _, q := range p.take() {
					if q.Operation() == c.honest.protocol {
						honest++
					} else {
						carriedOut++
					}
				}
			}
			// At most two buckets: each operation without a client has one.
			if most := 2 * (sessions.DefaultBurst + 6); carriedOut > most || carriedOut == 0 {
				t.Errorf("%d of the insider were carried out", carriedOut)
			}
			if c.honest.Client == "" && honest != 100 {
				t.Errorf("%d of 100 addresses were carried out", honest)
			}
			if c.honest.Client != "" && honest == 0 {
				t.Error("the honest client's were not carried out")
			}
			if p.counts.limited.Load() < 9_000 || p.counts.lost.Load() != 0 {
				t.Errorf("%d limited, %d lost", p.counts.limited.Load(), p.counts.lost.Load())
			}
		})
	}
}

// TestTheNewestProofWaits, of each service and family.
func TestTheNewestProofWaits(t *testing.T) {
	p := newProofs(time.Now)
	open, shut, web := newProof(t, "ssh-alice", "alic", "ssh"), newProof(t, "ssh-close", "alic", "ssh"), newProof(t, "web-alice", "alic", "web")
	four, other, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	p.put(open.operation, proof{open.grant, four, nil})
	p.put(web.operation, proof{web.grant, four, nil})
	p.put(open.operation, proof{open.grant, six, nil})
	p.put(shut.operation, proof{shut.grant, other, nil})
	got := p.take()
	want := []proof{{shut.grant, other, nil}, {web.grant, four, nil}, {open.grant, six, nil}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || p.counts.superseded.Load() != 1 {
		t.Errorf("got %v", got)
	}
	if len(p.wake) != 1 || len(p.take()) != 0 {
		t.Error("taken twice")
	}
}

// TestProofsAreBounded: of an operation without a client a bounded number of proofs
// waits, from any number of networks; other operations have their own bound.
func TestProofsAreBounded(t *testing.T) {
	p := newProofs(time.Now)
	shared, alice := newProof(t, "web-for-all", "", "web"), newProof(t, "ssh-alice", "alic", "ssh")
	for i := range uint32(3 * proofsPerOperation) {
		p.put(shared.operation, proof{shared.grant, anAddress(i, 1), nil})
	}
	p.put(alice.operation, proof{alice.grant, netip.MustParseAddr("192.0.2.1"), nil})
	got := p.take()
	if len(got) != proofsPerOperation+1 || p.counts.lost.Load()+p.counts.limited.Load() != 2*proofsPerOperation {
		t.Errorf("%d wait, %d lost, %d limited", len(got), p.counts.lost.Load(), p.counts.limited.Load())
	}
	p.keepClients(operations{})
	if len(p.clients) != 0 {
		t.Errorf("buckets of clients without an operation: %v", p.clients)
	}
}

// TestOwnersOfOwnerlessLeases are the same for one address, and few addresses share
// one.
func TestOwnersOfOwnerlessLeases(t *testing.T) {
	o := newProof(t, "web-for-all", "", "web").operation
	o.prefixLen6 = access.PrefixHost
	names := map[string]bool{}
	const addresses = 2000
	for i := range uint32(addresses) {
		a := anAddress(1, i)
		id := o.leaseOwner(a)
		if !ownerless(id) || id != o.leaseOwner(a) || strings.ContainsFunc(id.String(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%s has %q, and then %q", a, id, o.leaseOwner(a))
		}
		names[id.String()] = true
	}
	if len(names) < addresses*95/100 {
		t.Errorf("%d names of %d addresses", len(names), addresses)
	}
	// An address that one lease admits can also close it.
	one, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	if o.leaseOwner(one) == o.leaseOwner(other) {
		t.Error("two addresses share an owner")
	}
	if o.prefixLen6 = access.PrefixNetwork; o.leaseOwner(one) != o.leaseOwner(other) {
		t.Error("the addresses of one lease have two owners")
	}
}

// TestEachNumberWaits: the client of each exchange connects with its own number, if
// the service requires one. Otherwise only the newest exchange counts.
func TestEachNumberWaits(t *testing.T) {
	for _, requires := range []bool{false, true} {
		p := newProofs(time.Now)
		want := 1
		for nonce := range byte(10) {
			o := proveWith(t, "ssh-alice", "alic", "ssh", 0, nonce)
			if o.operation.isn = requires; requires {
				want = 10
			}
			p.put(o.operation, proof{o.grant, netip.MustParseAddr("192.0.2.1"), nil})
		}
		got := p.take()
		seen := map[wire.ISN]bool{}
		for _, of := range got {
			seen[of.ISN()] = true
		}
		if len(got) != want || len(seen) != want || p.counts.superseded.Load() != uint64(10-want) {
			t.Errorf("required %t: %d wait, with %d numbers", requires, len(got), len(seen))
		}
	}
}

// TestEachRandomPortWaits: the client of each exchange connects to its own port.
func TestEachRandomPortWaits(t *testing.T) {
	p := newProofs(time.Now)
	for port := range uint16(10) {
		random := proveRandom(t, "ssh-alice", "alic", "ssh", 2000+port)
		p.put(random.operation, proof{random.grant, netip.MustParseAddr("192.0.2.1"), nil})
	}
	if got := p.take(); len(got) != 10 || p.counts.superseded.Load() != 0 {
		t.Errorf("%d wait, %d superseded", len(got), p.counts.superseded.Load())
	}
}
