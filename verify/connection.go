package verify

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	"time"

	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// Connections authenticates connections to one service, by the handshake of package
// preamble. It holds the scratch memory of one goroutine; it is not safe for concurrent
// use. It accepts nothing before SetRules.
//
//	Claim    an authentic preamble: a client has made it, for this service, at this time
//	Answer   proves the server to that client
//	Prove    Claim + proof -> Connection: the client is at the other end
type Connections struct {
	service   string
	table     *KeyTable
	tolerance int64
	decoy     macKey // of no client
	mac       macState
	message   []byte // scratch
}

// NewConnections returns a verifier for the service of a name.
func NewConnections(service string) (*Connections, error) {
	if err := preamble.CheckService(service); err != nil {
		return nil, err
	}
	c := &Connections{service: service, mac: newMACState(), message: make([]byte, 0, preamble.MaxMessage)}
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		return nil, fmt.Errorf("verify connections: %w", err)
	}
	var secret [len(c.decoy.inner)]byte
	rand.Read(secret[:]) // it never fails
	if c.decoy, err = newMACKey(secret[:], &template); err != nil {
		return nil, fmt.Errorf("verify connections: %w", err)
	}
	return c, nil
}

// SetRules replaces the rules, from the next preamble on. Only the table and the
// tolerance apply.
func (c *Connections) SetRules(r Rules) {
	c.table, c.tolerance = r.Table, int64(r.Tolerance/time.Second)
}

// Claim is an authenticated preamble: a client that holds the secret of Identifier made
// it for this service. The connection may be that of an attacker who has a copy. Only a
// Connections makes one.
type Claim struct {
	signer
	preamble preamble.Preamble
	key      *macKey
	until    int64 // when the client or its secret expires, in Unix seconds
}

// Connection is a connection at whose other end a client is that holds the secret of
// Identifier. Its nonce may be used already. Only a Connections makes one.
type Connection struct{ signer }

// signer is the client that signed a preamble, and what it signed.
type signer struct {
	identifier wire.Identifier
	nonce      uint32
	timestamp  uint32
	table      uint32
	secret     Fingerprint
}

// Identifier names the client.
func (s signer) Identifier() wire.Identifier { return s.identifier }

// Nonce is the nonce of the preamble.
func (s signer) Nonce() uint32 { return s.nonce }

// Timestamp is the time of the client's clock at which the client made the preamble, in
// Unix seconds.
func (s signer) Timestamp() uint32 { return s.timestamp }

// Table is the number of the key table that authenticated the preamble.
func (s signer) Table() uint32 { return s.table }

// Secret identifies the secret of the client that authenticated the preamble.
func (s signer) Secret() Fingerprint { return s.secret }

// Claim checks a preamble at now, in Unix seconds. The result is valid only if the
// Reason is Authentic. For each preamble of the right format and time it does the same
// work, whether there is such a client or not, and however many secrets it has, so that
// the time reveals no identifier. Claim does not allocate and does not retain b.
func (c *Connections) Claim(b []byte, now int64) (Claim, Reason) {
	p, err := preamble.Parse(b)
	switch err {
	case nil:
	case preamble.RuleSize:
		return Claim{}, Size
	case preamble.RuleMagic:
		return Claim{}, Magic
	default:
		return Claim{}, Malformed
	}
	if d := int64(p.Timestamp) - now; c.table == nil || d > c.tolerance || d < -c.tolerance {
		return Claim{}, ClockSkew
	}
	i, known := c.table.find(p.Identifier)
	rows := [2]*row{}
	keys := [2]*macKey{&c.decoy, &c.decoy}
	if known {
		rows[0] = &c.table.rows[i]
		if old := c.table.previous[i]; old != nil && now < old.until {
			rows[1] = &old.row
		}
	}
	c.message = preamble.AppendPreambleMessage(c.message[:0], c.service, p)
	var by *row
	until := int64(math.MaxInt64)
	for j, r := range rows {
		if r != nil {
			keys[j] = &r.key
		}
		if c.mac.verify(keys[j], c.message, p.MAC[:]) && r != nil {
			if by = r; j > 0 {
				until = c.table.previous[i].until
			}
		}
	}
	switch {
	case !known:
		return Claim{}, Identifier
	case by == nil:
		return Claim{}, MAC
	case c.table.rows[i].expired(now): // whichever secret the client has used
		return Claim{}, Expired
	case p.Nonce < by.floor.lowest.Load():
		return Claim{}, BelowWindow
	}
	if at := c.table.rows[i].expires; at != 0 {
		until = min(until, int64(at))
	}
	return Claim{signer{p.Identifier, p.Nonce, p.Timestamp, c.table.number, by.fingerprint}, p, &by.key, until}, Authentic
}

// Answer returns the answer to a claim with a nonce, which must be unpredictable and
// new. It does not allocate.
func (c *Connections) Answer(claim *Claim, nonce [preamble.NonceSize]byte) (a preamble.Answer) {
	a.Nonce = nonce
	c.message = preamble.AppendAnswerMessage(c.message[:0], c.service, claim.preamble, nonce)
	copy(a.MAC[:], c.mac.sign(claim.key, c.message))
	return a
}

// Prove checks at now, in Unix seconds, whether the proof is the one for a claim that was
// answered with nonce. The connection is valid only if the Reason is Authentic; another
// one is MAC or, since the client or its secret may expire after its preamble, Expired.
// Prove does not allocate.
func (c *Connections) Prove(claim *Claim, nonce [preamble.NonceSize]byte, proof []byte, now int64) (Connection, Reason) {
	c.message = preamble.AppendProofMessage(c.message[:0], c.service, claim.preamble, nonce)
	want := c.mac.sign(claim.key, c.message)
	if want == nil || subtle.ConstantTimeCompare(want, proof) != 1 {
		return Connection{}, MAC
	}
	if now >= claim.until {
		return Connection{}, Expired
	}
	return Connection{claim.signer}, Authentic
}
