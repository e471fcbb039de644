// Package verifytest makes knocks for tests: signed ones, ones that are
// authenticated as a server would, and ones that no client could make.
//
//	Sign      a datagram that a client would send
//	Forge     a datagram with any fields at all, and no MAC
//	New       clients and a verifier; Sequences.Knock is an authenticated knock
package verifytest

import (
	"encoding/binary"
	"time"

	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TB is what testing.TB and rapid.TB have in common.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// ID returns the identifier of a client from its four characters.
func ID(text string) wire.Identifier { return wire.Identifier([]byte(text)) }

// Secret returns the secret that belongs to a client in tests.
func Secret(id wire.Identifier) []byte { return []byte("secret of " + id.String()) }

// Client returns a client's row for a key table, with its Secret.
func Client(id wire.Identifier) verify.Key {
	return verify.Key{Identifier: id, Secret: Secret(id)}
}

// Clients returns the rows of several clients.
func Clients(ids ...string) (clients []verify.Key) {
	for _, id := range ids {
		clients = append(clients, Client(ID(id)))
	}
	return clients
}

// Table returns the key table of clients.
func Table(t TB, clients ...verify.Key) *verify.KeyTable {
	t.Helper()
	table, err := verify.NewKeyTable(clients)
	if err != nil {
		t.Fatalf("key table: %v", err)
	}
	return table
}

// Sign returns the datagram of a knock, signed under its client's Secret.
func Sign(t TB, k wire.Knock) []byte {
	t.Helper()
	return SignUnder(t, k, Secret(k.Identifier))
}

// SignUnder returns the datagram of a knock, signed under a secret.
func SignUnder(t TB, k wire.Knock, secret []byte) []byte {
	t.Helper()
	b, err := k.Sign(secret).AppendBinary(nil)
	if err != nil {
		t.Fatalf("encode %+v: %v", k, err)
	}
	return b
}

// Forge returns a datagram with the fields of k as they stand, the MAC
// included. Unlike AppendBinary it refuses nothing, so the fields may break
// every rule.
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

// Sequences are those that a server's clients send.
type Sequences struct {
	verifier *verify.Verifier
	ports    int
}

// New returns the sequences of n knocks of clients that have their Secrets.
func New(t TB, n int, ids ...string) Sequences {
	t.Helper()
	return Sequences{verify.New(verify.Rules{Table: Table(t, Clients(ids...)...), Ports: n, Tolerance: time.Minute}), n}
}

// Knock returns the authenticated knock at a place of a sequence, stamped with
// the start of the minute. The sequence has the nonces from base on.
func (s Sequences) Knock(t TB, id string, m schedule.Minute, base uint32, sequence int) verify.Knock {
	t.Helper()
	datagram := Sign(t, wire.Knock{
		Sequence: int8(sequence), Maximum: int8(s.ports - 1), Identifier: ID(id),
		Timestamp: uint32(m) * 60, Nonce: base + uint32(sequence),
	})
	k, reason := s.verifier.Verify(datagram, []schedule.Place{{Minute: m, Index: int8(sequence)}}, int64(m)*60)
	if reason != verify.Authentic {
		t.Fatalf("a knock of %s is refused: %s", id, reason)
	}
	return k
}
