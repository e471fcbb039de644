package verify

import (
	"crypto/hmac"

	"sallyport/verify/wire"
)

// grantLabel begins the message of a tag. No other message under a client's secret begins
// so: see wire.ClosingMessage for those of closing knocks.
const grantLabel = "sallyport: grant"

// TagSize is the length of a tag.
const TagSize = wire.MACSize

// Tag returns the HMAC-SHA256, under a secret of a client, of a text that one gateway
// writes for the others, after a label. It reports false if the client has no such secret
// at now, in Unix seconds.
func (t *KeyTable) Tag(id wire.Identifier, secret Fingerprint, text []byte, now int64) (tag [TagSize]byte, ok bool) {
	key := t.secretKey(id, secret, now)
	if key == nil {
		return tag, false
	}
	mac := newMACState()
	return tagUnder(&mac, key, text)
}

func tagUnder(s *macState, key *macKey, text []byte) (tag [TagSize]byte, ok bool) {
	sum := s.sign(key, append([]byte(grantLabel), text...))
	return tag, copy(tag[:], sum) == TagSize
}

// Tagged reports whether a tag is that of a text.
func (t *KeyTable) Tagged(id wire.Identifier, secret Fingerprint, text, tag []byte, now int64) bool {
	want, ok := t.Tag(id, secret, text, now)
	return ok && hmac.Equal(want[:], tag)
}

// secretKey returns the key of a client's secret; nil: the client has no such secret.
func (t *KeyTable) secretKey(id wire.Identifier, secret Fingerprint, now int64) *macKey {
	row, ok := t.find(id)
	if !ok {
		return nil
	}
	if t.rows[row].fingerprint == secret {
		return &t.rows[row].key
	}
	if old := t.previous[row]; old != nil && old.fingerprint == secret && now < old.until {
		return &old.key
	}
	return nil
}
