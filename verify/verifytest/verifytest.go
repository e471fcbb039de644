// Package verifytest makes knocks for tests: signed ones, authenticated ones,
// and forged ones that no client could make.
//
//	Sign      a datagram that a client would send
//	Forge     a datagram with any fields, and any MAC
//	New       clients and a verifier; Sequences.Knock is an authenticated knock
//
// and the handshakes of connections (Handshake, Claim, Connection).
package verifytest

import (
	"encoding/binary"
	"time"

	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TB has the common methods of testing.TB and rapid.TB.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// ID returns the identifier of a client from its four characters.
func ID(text string) wire.Identifier { return wire.Identifier([]byte(text)) }

// Secret returns the secret that belongs to a client in tests.
func Secret(id wire.Identifier) []byte { return []byte("secret of " + id.String()) }

// Fingerprint returns the Fingerprint of a client's Secret.
func Fingerprint(id wire.Identifier) verify.Fingerprint {
	f, err := verify.FingerprintOf(Secret(id))
	if err != nil {
		panic(err)
	}
	return f
}

// Client returns the key of a client, with its Secret.
func Client(id wire.Identifier) verify.Key {
	return verify.Key{Identifier: id, Secret: Secret(id)}
}

// Clients returns the keys of several clients.
func Clients(ids ...string) (keys []verify.Key) {
	for _, id := range ids {
		keys = append(keys, Client(ID(id)))
	}
	return keys
}

// Table returns a key table.
func Table(t TB, keys ...verify.Key) *verify.KeyTable {
	t.Helper()
	table, err := verify.NewKeyTable(keys)
	if err != nil {
		t.Fatalf("key table: %v", err)
	}
	return table
}

// Sign returns the datagram of a knock, signed with its client's Secret.
func Sign(t TB, k wire.Knock) []byte {
	t.Helper()
	return SignUnder(t, k, Secret(k.Identifier))
}

// SignUnder returns the datagram of a knock, signed with a secret.
func SignUnder(t TB, k wire.Knock, secret []byte) []byte {
	t.Helper()
	b, err := k.Sign(secret).AppendBinary(nil)
	if err != nil {
		t.Fatalf("encode %+v: %v", k, err)
	}
	return b
}

// SignClosing returns the datagram of a closing knock, signed with its client's Secret.
func SignClosing(t TB, k wire.Knock) []byte {
	t.Helper()
	b, err := k.SignClosing(Secret(k.Identifier)).AppendBinary(nil)
	if err != nil {
		t.Fatalf("encode %+v: %v", k, err)
	}
	return b
}

// Forge returns a datagram with the fields of k, the MAC included, unchanged.
// Unlike AppendBinary it refuses nothing, so the fields may break every rule.
func Forge(k wire.Knock) []byte {
	b := make([]byte, wire.Size)
	copy(b, wire.Magic)
	b[wire.OffsetSequence], b[wire.OffsetMaximum] = byte(k.Sequence), byte(k.Maximum)
	copy(b[wire.OffsetIdentifier:], k.Identifier[:])
	binary.BigEndian.PutUint32(b[wire.OffsetTimestamp:], k.Timestamp)
	binary.BigEndian.PutUint32(b[wire.OffsetNonce:], k.Nonce)
	copy(b[wire.OffsetMAC:], k.MAC[:])
	return b
}

// Sequences makes authenticated knocks of a server's clients.
type Sequences struct {
	verifier *verify.Verifier
	table    *verify.KeyTable
	ports    int
}

// New returns the Sequences of clients with their Secrets; a sequence has n
// knocks.
func New(t TB, n int, ids ...string) Sequences {
	t.Helper()
	rules := verify.Rules{Table: Table(t, Clients(ids...)...), Ports: n, Tolerance: time.Minute}
	return Sequences{verify.New(rules), rules.Table, n}
}

// Knock returns an authenticated knock with a sequence ID, stamped with the
// start of the minute. The nonces of the sequence begin with base.
func (s Sequences) Knock(t TB, id string, m schedule.Minute, base uint32, sequence int) verify.Knock {
	t.Helper()
	return s.KnockAt(t, id, schedule.Place{Minute: m, Index: int8(sequence)}, base)
}

// KnockAt is Knock for a port with a place, which may have a port secret.
func (s Sequences) KnockAt(t TB, id string, at schedule.Place, base uint32) verify.Knock {
	t.Helper()
	return s.verify(t, Sign(t, s.wire(id, at, base)), at)
}

// KnockStamped is Knock with another timestamp of the minute.
func (s Sequences) KnockStamped(t TB, id string, m schedule.Minute, base uint32, sequence int, timestamp uint32) verify.Knock {
	t.Helper()
	at := schedule.Place{Minute: m, Index: int8(sequence)}
	k := s.wire(id, at, base)
	k.Timestamp = timestamp
	return s.verify(t, Sign(t, k), at)
}

// Closing is Knock for a closing knock. The client has a lease.
func (s Sequences) Closing(t TB, id string, m schedule.Minute, base uint32, sequence int) verify.Knock {
	t.Helper()
	at := schedule.Place{Minute: m, Index: int8(sequence)}
	s.table.SetLeased(ID(id), true)
	k := s.verify(t, SignClosing(t, s.wire(id, at, base)), at)
	if !k.Closes() {
		t.Fatalf("a closing knock of %s opens", id)
	}
	return k
}

func (s Sequences) wire(id string, at schedule.Place, base uint32) wire.Knock {
	return wire.Knock{
		Sequence: at.Index, Maximum: int8(s.ports - 1), Identifier: ID(id),
		Timestamp: uint32(at.Minute) * 60, Nonce: base + uint32(at.Index),
	}
}

func (s Sequences) verify(t TB, datagram []byte, at schedule.Place) verify.Knock {
	t.Helper()
	k, reason := s.verifier.Verify(datagram, []schedule.Place{at}, int64(at.Minute)*60)
	if reason != verify.Authentic {
		t.Fatalf("a knock is refused: %s", reason)
	}
	return k
}

// Handshake returns the client's side of a connection to a service, with its Secret.
func Handshake(t TB, service, id string, timestamp, nonce uint32) *preamble.Client {
	t.Helper()
	c, err := preamble.NewClient(service, ID(id), timestamp, nonce, preamble.SecretMAC(Secret(ID(id))))
	if err != nil {
		t.Fatalf("make a preamble: %v", err)
	}
	return c
}

// Claim returns the authenticated preamble of a client.
func Claim(t TB, v *verify.Connections, service, id string, timestamp, nonce uint32) verify.Claim {
	t.Helper()
	b := Handshake(t, service, id, timestamp, nonce).Preamble()
	claim, reason := v.Claim(b[:], int64(timestamp))
	if reason != verify.Authentic {
		t.Fatalf("a preamble of %s is refused: %s", id, reason)
	}
	return claim
}

// Connection returns a claim, and the connection that has proved it.
func Connection(t TB, v *verify.Connections, service, id string, timestamp, nonce uint32) (verify.Claim, verify.Connection) {
	t.Helper()
	c := Handshake(t, service, id, timestamp, nonce)
	claim := Claim(t, v, service, id, timestamp, nonce)
	random := [preamble.NonceSize]byte{1}
	answer, err := v.Answer(&claim, random).AppendBinary(nil)
	if err != nil {
		t.Fatalf("encode an answer: %v", err)
	}
	proof, err := c.Answer(answer)
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	connection, reason := v.Prove(&claim, random, proof[:], int64(timestamp))
	if reason != verify.Authentic {
		t.Fatalf("a proof of %s is refused: %s", id, reason)
	}
	return claim, connection
}

// Connections returns a verifier of connections to a service, for clients with their
// Secrets.
func Connections(t TB, service string, ids ...string) *verify.Connections {
	t.Helper()
	v, err := verify.NewConnections(service)
	if err != nil {
		t.Fatalf("verify connections: %v", err)
	}
	v.SetRules(verify.Rules{Table: Table(t, Clients(ids...)...), Tolerance: time.Minute})
	return v
}
