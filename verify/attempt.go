package verify

import (
	"crypto/hmac"
	"math"

	"sallyport/verify/wire"
)

// Attempt is an authenticated attempt: a client that holds the secret of Identifier made
// each of its n datagrams. Only a KeyTable makes one. It may be a replay, and the time and
// the source of its datagrams are not authenticated.
type Attempt struct {
	identifier wire.Identifier
	secret     Fingerprint
	base       uint32
	timestamp  uint32
	maximum    int8
	closes     bool
	isn        wire.ISN
}

// Identifier names the client.
func (a Attempt) Identifier() wire.Identifier { return a.identifier }

// Secret identifies the secret of the client that authenticated the datagrams.
func (a Attempt) Secret() Fingerprint { return a.secret }

// Base is the nonce of the first knock. That of each other one is one more than the nonce
// before it.
func (a Attempt) Base() uint32 { return a.base }

// Timestamp is that of each knock, in Unix seconds.
func (a Attempt) Timestamp() uint32 { return a.timestamp }

// Count is n, the number of knocks.
func (a Attempt) Count() int { return int(a.maximum) + 1 }

// Closes reports whether the attempt closes, and opens nothing.
func (a Attempt) Closes() bool { return a.closes }

// ISN is the initial sequence number that the attempt binds a connection to; zero, if it
// closes.
func (a Attempt) ISN() wire.ISN { return a.isn }

// Attempt authenticates the datagrams of a complete attempt with n knocks, all in one
// slice, in their order and with one timestamp. now is in Unix seconds. The Attempt is
// valid only if the Reason is Authentic. Unlike a Verifier, it compares neither the
// timestamp with now, nor the nonces with a window: the gateway that granted the attempt
// has done that.
func (t *KeyTable) Attempt(datagrams []byte, n int, now int64) (Attempt, Reason) {
	return t.attempt(datagrams, n, now, nil)
}

// derivation makes the key of a gateway from a secret.
type derivation func(*macState, *macKey) (key macKey, ok bool)

// attempt is Attempt under the keys that derive makes from the secrets of the table; nil:
// under these.
func (t *KeyTable) attempt(datagrams []byte, n int, now int64, derive derivation) (Attempt, Reason) {
	if n < 1 || n > wire.MaxKnocks || len(datagrams) != n*wire.Size {
		return Attempt{}, Size
	}
	first, err := wire.Parse(datagrams[:wire.Size])
	if err != nil {
		return Attempt{}, reasonOf(err)
	}
	row, ok := t.find(first.Identifier)
	switch {
	case int(first.Maximum) != n-1:
		return Attempt{}, Maximum
	case first.Sequence != 0:
		return Attempt{}, Sequence
	case !ok:
		return Attempt{}, Identifier
	case t.rows[row].expired(now):
		return Attempt{}, Expired
	case uint64(first.Nonce)+uint64(n-1) > math.MaxUint32:
		return Attempt{}, NonceUnderflow
	}
	a := Attempt{identifier: first.Identifier, base: first.Nonce, timestamp: first.Timestamp, maximum: first.Maximum}
	mac := newMACState()
	key := t.keyOf(&mac, row, first, &a, now, derive)
	if key == nil {
		return Attempt{}, MAC
	}
	for i := range n {
		made, ok := a.knock(&mac, key, int8(i))
		k, err := wire.Parse(datagrams[i*wire.Size : (i+1)*wire.Size])
		switch {
		case err != nil:
			return Attempt{}, reasonOf(err)
		case k.Sequence != int8(i):
			return Attempt{}, Sequence
		case !ok || k.Message() != made.Message() || !hmac.Equal(k.MAC[:], made.MAC[:]):
			return Attempt{}, MAC
		}
	}
	if !a.closes {
		a.isn = mac.isn(key, a.identifier, a.base)
	}
	return a, Authentic
}

// keyOf returns the key that made the first knock of an attempt; nil: none of the client
// did. It fills in which secret it is, and whether the attempt closes.
func (t *KeyTable) keyOf(s *macState, i uint32, first wire.Knock, a *Attempt, now int64, derive derivation) *macKey {
	signed := first.Message()
	closing := wire.ClosingMessage(signed)
	for _, r := range t.secretsOf(i, now) {
		key, secret := r.key, r.fingerprint
		if derive != nil {
			var ok bool
			if key, ok = derive(s, &r.key); !ok {
				continue
			}
			secret = s.fingerprint(&key)
		}
		opens := s.verify(&key, signed[:], first.MAC[:])
		if opens || s.verify(&key, closing[:], first.MAC[:]) {
			a.secret, a.closes = secret, !opens
			return &key
		}
	}
	return nil
}

// secretsOf returns the secrets of a client: during a rotation two.
func (t *KeyTable) secretsOf(i uint32, now int64) []*row {
	rows := []*row{&t.rows[i]}
	if old := t.previous[i]; old != nil && now < old.until {
		rows = append(rows, &old.row)
	}
	return rows
}

// AppendAttempt appends the datagrams of an attempt to b, as the client made them: those
// that Attempt authenticates. It reports false if the client has no such secret at now,
// or there is no such attempt.
func (t *KeyTable) AppendAttempt(b []byte, id wire.Identifier, secret Fingerprint, base, timestamp uint32, n int, closes bool, now int64) ([]byte, bool) {
	key := t.secretKey(id, secret, now)
	if key == nil || n < 1 || n > wire.MaxKnocks || uint64(base)+uint64(n-1) > math.MaxUint32 {
		return b, false
	}
	a := Attempt{identifier: id, base: base, timestamp: timestamp, maximum: int8(n - 1), closes: closes}
	mac := newMACState()
	before := len(b)
	for i := range n {
		k, ok := a.knock(&mac, key, int8(i))
		if ok {
			var err error
			b, err = k.AppendBinary(b)
			ok = err == nil
		}
		if !ok {
			return b[:before], false
		}
	}
	return b, true
}

// knock returns a knock of the attempt, signed with the key.
func (a Attempt) knock(s *macState, key *macKey, sequence int8) (k wire.Knock, ok bool) {
	k = wire.Knock{
		Sequence: sequence, Maximum: a.maximum, Identifier: a.identifier,
		Timestamp: a.timestamp, Nonce: a.base + uint32(sequence),
	}
	signed := k.Message()
	message := signed[:]
	if a.closes {
		closing := wire.ClosingMessage(signed)
		message = closing[:]
	}
	sum := s.sign(key, message)
	return k, copy(k.MAC[:], sum) == wire.MACSize
}
