package verify

import (
	"crypto/hmac"

	"sallyport/verify/wire"
)

// partLabel begins the message of a part. No other message under a client's secret begins
// so.
const partLabel = "sallyport: part of an attempt"

// PartTag returns the HMAC-SHA256, under a secret of a client, of a text about knocks that
// one gateway has received, after a label: see sessions/fleet/split. It reports false if the
// client has no such secret at now, in Unix seconds, or has expired.
func (t *KeyTable) PartTag(id wire.Identifier, secret Fingerprint, text []byte, now int64) (tag [TagSize]byte, ok bool) {
	row, ok := t.find(id)
	if !ok || t.rows[row].expired(now) {
		return tag, false
	}
	key := t.secretKey(id, secret, now)
	if key == nil {
		return tag, false
	}
	mac := newMACState()
	sum := mac.sign(key, append([]byte(partLabel), text...))
	return tag, copy(tag[:], sum) == TagSize
}

// PartTagged reports whether a tag is PartTag of a text.
func (t *KeyTable) PartTagged(id wire.Identifier, secret Fingerprint, text, tag []byte, now int64) bool {
	want, ok := t.PartTag(id, secret, text, now)
	return ok && hmac.Equal(want[:], tag)
}

// SecretOfKey returns which secret of a client makes a key for a gateway, each by its
// fingerprint. The table has the secrets. It reports false if none makes it at now.
func (t *KeyTable) SecretOfKey(gateway string, id wire.Identifier, key Fingerprint, now int64) (secret Fingerprint, ok bool) {
	row, ok := t.find(id)
	derive := derivationFor(gateway)
	if !ok || derive == nil {
		return 0, false
	}
	mac := newMACState()
	for _, r := range t.secretsOf(row, now) {
		made, ok := derive(&mac, &r.key)
		if ok && mac.fingerprint(&made) == key {
			return r.fingerprint, true
		}
	}
	return 0, false
}

// ISN returns the initial sequence number of the connections of an attempt with a secret of
// a client; zero: the client has no such secret at now.
func (t *KeyTable) ISN(id wire.Identifier, secret Fingerprint, base uint32, now int64) wire.ISN {
	key := t.secretKey(id, secret, now)
	if key == nil {
		return 0
	}
	mac := newMACState()
	return mac.isn(key, id, base)
}
