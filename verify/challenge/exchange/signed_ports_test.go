package exchange

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/verify/challenge"
)

var (
	portClient = netip.MustParseAddr("192.0.2.7")
	portServer = netip.MustParseAddr("198.51.100.1")
)

// signing is an operation with one key, as both ends have it.
type signing struct {
	server, client *Operation
	private        ed25519.PrivateKey
}

func mustSigned(t testing.TB, id string, random bool) signing {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := NewHostKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := PublicKey{Key: [ed25519.PublicKeySize]byte(public)}
	server, err := NewSignedOperation(id, host, []PublicKey{key}, random)
	if err != nil {
		t.Fatal(err)
	}
	client, err := DescribeOperation(id, Mutual, random)
	if err == nil {
		client, err = client.WithHost(host.Public(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signing{server, client, private}
}

// signedPlan has restarts, with which 64 bytes fit into 4096 ports.
func signedPlan() challenge.Plan {
	e := challenge.Encoding{Scheme: challenge.Ranges, Base: 1025, DataBits: 8, Restart: 16}
	responses := e
	responses.Base = 6000
	return challenge.Plan{Request: e, Response: responses, Ports: challenge.Ports{First: 1025, Last: 12000}}
}

// TestSignedByPorts: a whole exchange in ports, beside operations with a secret. A
// packet that contradicts another one ends it, and so does the last packet of a wrong
// signature.
func TestSignedByPorts(t *testing.T) {
	s := mustSigned(t, "ssh-alice", true)
	p := signedPlan()
	ops, err := NewOperations([]*Operation{mustOperation(t, "web-x", Mutual, false), s.server}, p)
	if err != nil {
		t.Fatal(err)
	}
	kinds := ops.Kinds(portClient)
	if len(kinds) != 2 || kinds[0].ResponsePackets() != ResponseSize || kinds[1].ResponsePackets() != SignatureSize {
		t.Fatalf("%d kinds", len(kinds))
	}
	r, now := &NewResponders(1, ops)[0], time.Unix(1_700_000_000, 0)
	requests, responses, err := p.Codecs(s.client.RequestSize(false), s.client.ResponseSize())
	if err != nil {
		t.Fatal(err)
	}
	// challenged returns the ports of the right response.
	challenged := func() []uint16 {
		i, err := NewSigningInitiator(s.client, portClient, portServer, [KeySize]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		ports, err := requests.AppendPorts(nil, i.Request())
		if err != nil {
			t.Fatal(err)
		}
		r.Begin(kinds[1])
		for _, port := range ports {
			if !r.Request(port, now) {
				t.Fatal("a packet of the request is refused")
			}
		}
		c, err := r.Challenge(nil, portClient, portServer, [NonceSize]byte{2}, 2000)
		if err != nil {
			t.Fatal(err)
		}
		a, err := i.Answer(c)
		if err != nil || a.Port != 2000 {
			t.Fatal(a.Port, err)
		}
		if ports, err = responses.AppendPorts(nil, ed25519.Sign(s.private, a.ToSign)); err != nil {
			t.Fatal(err)
		}
		return ports
	}
	ports := challenged()
	for n, port := range ports {
		if r.State() != Challenged || r.Known() != 0 || !r.Response(port, now) || n < len(ports)-1 && !r.Response(port, now) {
			t.Fatalf("packet %d: state %d, %d bits known", n, r.State(), r.Known())
		}
	}
	if r.State() != Verified || r.Proof().Key() == nil || r.Proof().Port() != 2000 || r.Proof().ISN() == 0 {
		t.Errorf("state %d, %+v", r.State(), r.Proof())
	}
	for n, port := range challenged() { // the last bit of the signature is wrong
		if n == len(ports)-1 {
			port ^= 1
		}
		if ok := r.Response(port, now); ok != (n < len(ports)-1) {
			t.Fatalf("packet %d of a wrong response: %v", n, ok)
		}
	}
	if r.State() != Free {
		t.Errorf("state %d after a wrong signature", r.State())
	}
	ports = challenged()
	if !r.Response(ports[0], now) || r.Response(ports[0]^1, now) || r.State() != Free {
		t.Errorf("state %d after two packets with one position", r.State())
	}
	if challenged(); r.Response(ports[0]+16<<8, now) || r.State() != Free {
		t.Errorf("state %d after a packet outside of the ports", r.State())
	}
}

// TestSignedPlans: an encoding that has no room for a signature, and shared ports.
func TestSignedPlans(t *testing.T) {
	s, mac := mustSigned(t, "ssh-alice", false).server, mustOperation(t, "web-x", Mutual, false)
	without, narrow, shared, reach := signedPlan(), signedPlan(), signedPlan(), signedPlan()
	without.Response.Restart, narrow.Ports.Last = 0, 20000
	narrow.Response = challenge.Encoding{Scheme: challenge.Sequence, Base: 6000, DataBits: 8, SequenceBits: 5}
	shared.Shared = true
	reach.Request.Restart, reach.Response.Base = 0, 1025+uint16(mac.RequestSize(false))<<8
	for want, p := range map[string]challenge.Plan{
		"requires ports 6000 to 22383":             without,
		"at most 32 packets, the numbers of 5":     narrow,
		"must not share ports if an operation has": shared,
		"overlap those of responses":               reach,
	} {
		if _, err := NewOperations([]*Operation{mac}, p); err != nil {
			t.Errorf("%s: with a secret: %v", want, err)
		}
		for _, list := range [][]*Operation{{mac, s}, {s, mac}} {
			if _, err := NewOperations(list, p); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
		}
	}
}

// TestSignedRefusals: an operation with public keys and one with a secret exclude each
// other, and a key of a small order makes no secret.
func TestSignedRefusals(t *testing.T) {
	host, err := NewHostKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, security := PublicKey{Key: [32]byte{2}}, PublicKey{Key: [32]byte{2}, Application: "ssh:"}
	many := make([]PublicKey, MaxKeys+1)
	for i := range many {
		many[i].Key[0] = byte(i + 2)
	}
	for want, keys := range map[string][]PublicKey{
		"got none": nil, "at most 16": many, "of one type": {plain, security}, "is weak": {{}}, "twice": {plain, plain},
	} {
		_, err := NewSignedOperation("ssh-alice", host, keys, false)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := NewSignedOperation("ssh-alice", host, many[:MaxKeys], false); err != nil {
		t.Error(err)
	}
	if _, err := NewSignedOperation("ssh-alice", nil, []PublicKey{plain}, false); err == nil {
		t.Error("without a host key")
	}
	s := mustSigned(t, "ssh-alice", false)
	if _, err := s.server.WithSecret("secret"); err == nil {
		t.Error("a secret in addition")
	}
	if _, err := NewInitiator(s.client, portClient, portServer, [NonceSize]byte{}); err == nil {
		t.Error("a client without a private key")
	}
	if _, err := NewOperations([]*Operation{s.client}, signedPlan()); err == nil {
		t.Error("a server without its private key")
	}
	described, err := DescribeOperation("ssh-alice", NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := described.WithHost(host.Public(), plain); err == nil {
		t.Error("Algorithm 2")
	}
	small := *s.client // of order 1 or 2, so X25519 has the result 0
	small.public = HostPublic{1}
	if _, err := NewSigningInitiator(&small, portClient, portServer, [KeySize]byte{1}); err == nil {
		t.Error("a host key of a small order")
	}
	r, err := ParseRequest(s.server, false, append([]byte("ssh-alice"), make([]byte, KeySize)...))
	if err != nil {
		t.Fatal(err)
	}
	c, p, err := r.Challenge(nil, portClient, portServer, [NonceSize]byte{}, 0)
	if err == nil || len(c) != 0 || p.signed != nil {
		t.Error("a challenge for an ephemeral key of a small order")
	}
}

// TestHostKeyTexts: a private key is never taken for a public one, and no error has a
// part of it.
func TestHostKeyTexts(t *testing.T) {
	host, err := NewHostKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, public := host.Secret(), host.Public().String()
	again, err := ParseHostKey(secret)
	if err != nil || again.Secret() != secret || again.String() != public {
		t.Error(err)
	}
	if p, err := ParseHostPublic(public); err != nil || p != host.Public() {
		t.Error(err)
	}
	body := secret[len(hostKeyPrefix):]
	for _, wrong := range []string{"", public, secret[1:], secret + "A", secret[:len(secret)-4], hostKeyPrefix + "!" + body[1:], body} {
		if _, err := ParseHostKey(wrong); err == nil || strings.Contains(err.Error(), body[8:16]) {
			t.Errorf("a private key of %d characters: %v", len(wrong), err)
		}
	}
	zero := HostPublic{}.String()
	for _, wrong := range []string{"", secret, public[1:], public + "A", zero} {
		if _, err := ParseHostPublic(wrong); err == nil || strings.Contains(err.Error(), body[8:16]) {
			t.Errorf("a public key of %d characters: %v", len(wrong), err)
		}
	}
	if _, err := NewHostKey(bytes.NewReader(nil)); err == nil {
		t.Error("a key without random bits")
	}
}

// BenchmarkSigned is what one exchange costs the server: the challenge, and a wrong
// response with each number of keys.
func BenchmarkSigned(b *testing.B) {
	s := mustSigned(b, "ssh-alice", false)
	i, err := NewSigningInitiator(s.client, portClient, portServer, [KeySize]byte{1})
	if err != nil {
		b.Fatal(err)
	}
	r, err := ParseRequest(s.server, false, i.Request())
	if err != nil {
		b.Fatal(err)
	}
	c, pending, err := r.Challenge(nil, portClient, portServer, [NonceSize]byte{}, 0)
	if err != nil {
		b.Fatal(err)
	}
	a, err := i.Answer(c)
	if err != nil {
		b.Fatal(err)
	}
	wrong := ed25519.Sign(s.private, append(a.ToSign, 0))
	b.Run("challenge", func(b *testing.B) {
		for b.Loop() {
			r.Challenge(c[:0], portClient, portServer, [NonceSize]byte{}, 0)
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, ok := pending.Verify(wrong); ok {
				b.Fatal("a wrong signature is right")
			}
		}
	})
}
