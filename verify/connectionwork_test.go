package verify

import (
	"hash"
	"testing"
	"time"

	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// countingHash counts the bytes that are hashed, and the sums.
type countingHash struct {
	hash.Hash
	bytes, sums int
}

func (h *countingHash) Write(b []byte) (int, error) {
	h.bytes += len(b)
	return h.Hash.Write(b)
}

func (h *countingHash) Sum(b []byte) []byte {
	h.sums++
	return h.Hash.Sum(b)
}

// TestClaimWorksAlike: a preamble costs the same hashes, whether its client is known, has
// one or two secrets, or has made it. Otherwise the time would reveal which identifiers
// exist.
func TestClaimWorksAlike(t *testing.T) {
	now := int64(1_700_000_000)
	one, two, over := wire.Identifier([]byte("one1")), wire.Identifier([]byte("two2")), wire.Identifier([]byte("over"))
	ends := wire.Identifier([]byte("ends"))
	table, err := NewKeyTable([]Key{
		{Identifier: one, Secret: []byte("a")},
		{Identifier: two, Secret: []byte("b"), Previous: []byte("c"), Until: time.Unix(now+1, 0)},
		{Identifier: over, Secret: []byte("d"), Previous: []byte("e"), Until: time.Unix(now, 0)},
		{Identifier: ends, Secret: []byte("f"), Previous: []byte("g"), Until: time.Unix(now+1, 0), Expires: time.Unix(now, 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewConnections("ssh")
	if err != nil {
		t.Fatal(err)
	}
	v.SetRules(Rules{Table: table, Tolerance: time.Minute})
	table.rows[table.index[one]].floor.Raise(5, 5)
	h := &countingHash{Hash: v.mac.hash}
	v.mac.hash = h
	seen := map[Reason]bool{}
	for _, row := range []struct {
		id     wire.Identifier
		secret string
		nonce  uint32
	}{
		{one, "a", 7}, {one, "a", 4}, {one, "b", 7}, {two, "b", 7}, {two, "c", 7}, {two, "x", 7}, {over, "d", 7}, {over, "e", 7},
		{ends, "f", 7}, {ends, "g", 7}, {ends, "x", 7},
		{wire.Identifier([]byte("none")), "a", 7},
	} {
		c, err := preamble.NewClient("ssh", row.id, uint32(now), row.nonce, preamble.SecretMAC([]byte(row.secret)))
		if err != nil {
			t.Fatal(err)
		}
		b := c.Preamble()
		h.bytes, h.sums = 0, 0
		_, reason := v.Claim(b[:], now)
		seen[reason] = true
		// Two HMACs, each with the message, and with the inner sum.
		message := len(preamble.AppendPreambleMessage(nil, "ssh", preamble.Preamble{}))
		if h.sums != 4 || h.bytes != 2*(message+wire.MACSize) {
			t.Errorf("%s with %s: %s after %d sums of %d bytes", row.id, row.secret, reason, h.sums, h.bytes)
		}
	}
	if !seen[Authentic] || !seen[MAC] || !seen[Identifier] || !seen[Expired] || !seen[BelowWindow] {
		t.Errorf("only %v", seen)
	}
}
