package verify_test

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

const stamp = uint32(start)

func first(t testing.TB, service, id string, timestamp, nonce uint32) []byte {
	b := verifytest.Handshake(t, service, id, timestamp, nonce).Preamble()
	return b[:]
}

// TestClaimReasons breaks one rule a row. Each row is otherwise good, MAC included.
func TestClaimReasons(t *testing.T) {
	v := verifytest.Connections(t, "ssh", "com1", "com2")
	good := first(t, "ssh", "com1", stamp, 7)
	change := func(i int, c byte) []byte {
		b := append([]byte(nil), good...)
		b[i] = c
		return b
	}
	knock := verifytest.Sign(t, wire.Knock{Maximum: 2, Identifier: verifytest.ID("com1"), Timestamp: stamp, Nonce: 7})
	knockMAC := append(append([]byte(nil), good[:wire.SignedSize]...), knock[wire.OffsetMAC:]...)
	closing := verifytest.SignClosing(t, wire.Knock{Maximum: 2, Identifier: verifytest.ID("com1"), Timestamp: stamp, Nonce: 7})
	closingMAC := append(append([]byte(nil), good[:wire.SignedSize]...), closing[wire.OffsetMAC:]...)
	for _, row := range []struct {
		name string
		b    []byte
		now  int64
		want verify.Reason
	}{
		{"good", good, start, verify.Authentic},
		{"nothing", nil, start, verify.Size},
		{"short", good[:47], start, verify.Size},
		{"long", append(append([]byte(nil), good...), 0), start, verify.Size},
		{"magic", change(0, 'p'), start, verify.Magic},
		{"a knock", knock, start, verify.Malformed},
		{"kind", change(2, 0), start, verify.Malformed},
		{"identifier that is not printable", change(4, 0), start, verify.Malformed},
		{"as old as may be", good, start + 60, verify.Authentic},
		{"too old", good, start + 61, verify.ClockSkew},
		{"as new as may be", good, start - 60, verify.Authentic},
		{"too new", good, start - 61, verify.ClockSkew},
		{"unknown client", first(t, "ssh", "none", stamp, 7), start, verify.Identifier},
		{"another client's name", change(7, '2'), start, verify.MAC},
		{"another service", first(t, "web", "com1", stamp, 7), start, verify.MAC},
		{"the MAC of a knock", knockMAC, start, verify.MAC},
		{"the MAC of a closing knock", closingMAC, start, verify.MAC},
		{"one bit", change(47, good[47]^1), start, verify.MAC},
	} {
		claim, got := v.Claim(row.b, row.now)
		if got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
		if got != verify.Authentic && claim.Identifier() != (wire.Identifier{}) {
			t.Errorf("%s: refused, yet a claim of %s", row.name, claim.Identifier())
		}
	}
	claim, _ := v.Claim(good, start)
	if claim.Identifier() != verifytest.ID("com1") || claim.Nonce() != 7 || claim.Timestamp() != stamp ||
		claim.Secret() != verifytest.Fingerprint(verifytest.ID("com1")) {
		t.Errorf("got %+v", claim)
	}
}

// TestClaimOfAnExpiredClient: from its second on. A stranger who knows its name counts as
// any other.
func TestClaimOfAnExpiredClient(t *testing.T) {
	key := verifytest.Client(verifytest.ID("com1"))
	key.Expires = time.Unix(start, 0)
	v := verifytest.Connections(t, "ssh")
	v.SetRules(verify.Rules{Table: verifytest.Table(t, key), Tolerance: time.Minute})
	good := first(t, "ssh", "com1", stamp, 7)
	bad := append(good[:47:47], good[47]^1)
	for _, row := range []struct {
		b    []byte
		now  int64
		want verify.Reason
	}{
		{good, start - 1, verify.Authentic}, {bad, start - 1, verify.MAC},
		{good, start, verify.Expired}, {bad, start, verify.MAC},
	} {
		if _, got := v.Claim(row.b, row.now); got != row.want {
			t.Errorf("at %+d: %s, want %s", row.now-start, got, row.want)
		}
	}
}

// TestClaimBelowFloor: the floor of the secret that signed counts.
func TestClaimBelowFloor(t *testing.T) {
	id := verifytest.ID("com1")
	key := verify.Key{Identifier: id, Secret: verifytest.Secret(id), Previous: []byte("old"), Until: time.Unix(start+30, 0)}
	table := verifytest.Table(t, key)
	v := verifytest.Connections(t, "ssh")
	v.SetRules(verify.Rules{Table: table, Tolerance: time.Minute})
	current, previous := table.Windows(id)
	current.Floor.Raise(8, 8)
	signed := func(secret []byte, nonce uint32) []byte {
		c, err := preamble.NewClient("ssh", id, stamp, nonce, preamble.SecretMAC(secret))
		if err != nil {
			t.Fatal(err)
		}
		b := c.Preamble()
		return b[:]
	}
	for _, row := range []struct {
		name   string
		secret []byte
		nonce  uint32
		now    int64
		want   verify.Reason
		by     verify.Fingerprint
	}{
		{"below", key.Secret, 7, start, verify.BelowWindow, 0},
		{"on the floor", key.Secret, 8, start, verify.Authentic, current.Fingerprint},
		{"below the other secret's", key.Previous, 7, start, verify.Authentic, previous.Fingerprint},
		{"of a secret that has expired", key.Previous, 9, start + 30, verify.MAC, 0},
	} {
		claim, got := v.Claim(signed(row.secret, row.nonce), row.now)
		if got != row.want || claim.Secret() != row.by {
			t.Errorf("%s: %s, by %x", row.name, got, claim.Secret())
		}
	}
}

// TestProve: the proof of a handshake is that of no other: not of another claim, answer,
// service or direction.
func TestProve(t *testing.T) {
	v, web := verifytest.Connections(t, "ssh", "com1", "com2"), verifytest.Connections(t, "web", "com1")
	n1, n2 := [preamble.NonceSize]byte{1}, [preamble.NonceSize]byte{2}
	answer := func(v *verify.Connections, claim verify.Claim, nonce [preamble.NonceSize]byte) []byte {
		b, err := v.Answer(&claim, nonce).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	claim := verifytest.Claim(t, v, "ssh", "com1", stamp, 7)
	other := verifytest.Claim(t, v, "ssh", "com1", stamp, 8)
	stranger := verifytest.Claim(t, v, "ssh", "com2", stamp, 7)
	atWeb := verifytest.Claim(t, web, "web", "com1", stamp, 7)
	client := verifytest.Handshake(t, "ssh", "com1", stamp, 7)
	proof, err := client.Answer(answer(v, claim, n1))
	if err != nil {
		t.Fatal(err)
	}
	c, reason := v.Prove(&claim, n1, proof[:], start)
	if reason != verify.Authentic || c.Identifier() != claim.Identifier() || c.Nonce() != 7 || c.Secret() != claim.Secret() {
		t.Errorf("got %+v, %s", c, reason)
	}
	for name, refused := range map[string]func() verify.Reason{
		"another answer's nonce": func() verify.Reason { _, r := v.Prove(&claim, n2, proof[:], start); return r },
		"another claim":          func() verify.Reason { _, r := v.Prove(&other, n1, proof[:], start); return r },
		"another client":         func() verify.Reason { _, r := v.Prove(&stranger, n1, proof[:], start); return r },
		"another service":        func() verify.Reason { _, r := web.Prove(&atWeb, n1, proof[:], start); return r },
		"the server's MAC": func() verify.Reason {
			a := v.Answer(&claim, n1)
			_, r := v.Prove(&claim, n1, a.MAC[:], start)
			return r
		},
		"the preamble's MAC": func() verify.Reason {
			b := client.Preamble()
			_, r := v.Prove(&claim, n1, b[wire.OffsetMAC:], start)
			return r
		},
		"zeros": func() verify.Reason { _, r := v.Prove(&claim, n1, make([]byte, preamble.ProofSize), start); return r },
		"short": func() verify.Reason { _, r := v.Prove(&claim, n1, proof[:31], start); return r },
	} {
		if got := refused(); got != verify.MAC {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, wrong := range map[string][]byte{
		"the answer to another claim": answer(v, other, n1),
		"another service's answer":    answer(web, atWeb, n1),
	} {
		if proof, err := client.Answer(wrong); err == nil || proof != [preamble.ProofSize]byte{} {
			t.Errorf("%s: the client proves itself", name)
		}
	}
}

// TestProofAfterTheEnd: a client that has expired since its preamble proves nothing, nor
// does one whose old secret has. A wrong proof counts as such.
func TestProofAfterTheEnd(t *testing.T) {
	id := verifytest.ID("com1")
	key := verify.Key{
		Identifier: id, Secret: verifytest.Secret(id), Previous: []byte("old"), Until: time.Unix(start+1, 0), Expires: time.Unix(start+2, 0),
	}
	v := verifytest.Connections(t, "ssh")
	v.SetRules(verify.Rules{Table: verifytest.Table(t, key), Tolerance: time.Minute})
	for _, row := range []struct {
		secret []byte
		now    int64
		want   verify.Reason
	}{
		{key.Secret, start + 1, verify.Authentic}, {key.Secret, start + 2, verify.Expired},
		{key.Previous, start, verify.Authentic}, {key.Previous, start + 1, verify.Expired},
	} {
		c, err := preamble.NewClient("ssh", id, stamp, 7, preamble.SecretMAC(row.secret))
		if err != nil {
			t.Fatal(err)
		}
		b := c.Preamble()
		claim, _ := v.Claim(b[:], start)
		answer, _ := v.Answer(&claim, [preamble.NonceSize]byte{}).AppendBinary(nil)
		proof, err := c.Answer(answer)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := v.Prove(&claim, [preamble.NonceSize]byte{}, proof[:], row.now); got != row.want {
			t.Errorf("with %s at %+d: %s, want %s", row.secret, row.now-start, got, row.want)
		}
		proof[0] ^= 1
		if _, got := v.Prove(&claim, [preamble.NonceSize]byte{}, proof[:], row.now); got != verify.MAC {
			t.Errorf("a wrong proof at %+d: %s", row.now-start, got)
		}
	}
}

func TestConnectionsWithoutRules(t *testing.T) {
	v, err := verify.NewConnections("ssh")
	if err != nil {
		t.Fatal(err)
	}
	if _, got := v.Claim(first(t, "ssh", "com1", stamp, 7), start); got != verify.ClockSkew {
		t.Errorf("without a table: %s", got)
	}
	if _, err := verify.NewConnections(""); err == nil {
		t.Error("a service without a name")
	}
}

func TestConnectionsDoNotAllocate(t *testing.T) {
	v := verifytest.Connections(t, "ssh", "com1")
	good := first(t, "ssh", "com1", stamp, 7)
	for name, b := range map[string][]byte{
		"good": good, "unknown": first(t, "ssh", "none", stamp, 7), "service": first(t, "web", "com1", stamp, 7), "junk": make([]byte, 48),
	} {
		if n := testing.AllocsPerRun(100, func() {
			claim, reason := v.Claim(b, start)
			if reason == verify.Authentic {
				v.Answer(&claim, [preamble.NonceSize]byte{})
				v.Prove(&claim, [preamble.NonceSize]byte{}, b[:preamble.ProofSize], start)
			}
		}); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

// BenchmarkClaim: the rows take the same time, so that it reveals no identifier.
func BenchmarkClaim(b *testing.B) {
	rotating := verify.Key{Identifier: verifytest.ID("com2"), Secret: verifytest.Secret(verifytest.ID("com2")), Previous: []byte("old"), Until: time.Unix(start+60, 0)}
	v := verifytest.Connections(b, "ssh")
	v.SetRules(verify.Rules{Table: verifytest.Table(b, verifytest.Client(verifytest.ID("com1")), rotating), Tolerance: time.Minute})
	for name, bytes := range map[string][]byte{
		"good": first(b, "ssh", "com1", stamp, 7), "unknown": first(b, "ssh", "none", stamp, 7),
		"known": first(b, "web", "com1", stamp, 7), "rotating": first(b, "web", "com2", stamp, 7),
	} {
		b.Run("client="+name, func(b *testing.B) {
			for b.Loop() {
				v.Claim(bytes, start)
			}
		})
	}
}
