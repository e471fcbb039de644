package verify

import (
	"crypto/hmac"
	"crypto/sha256"

	"sallyport/verify/wire"
)

// KeysOfGateway returns the keys that clients have for a gateway. They take the place of
// their secrets at this gateway, during a rotation of both.
func KeysOfGateway(keys []Key, gateway string) ([]Key, error) {
	derived := make([]Key, len(keys))
	for i, k := range keys {
		var err error
		if derived[i], err = k.ofGateway(gateway); err != nil {
			return nil, err
		}
	}
	return derived, nil
}

// ofGateway returns the key of a client for a gateway. An empty secret stays empty.
func (k Key) ofGateway(gateway string) (Key, error) {
	for _, secret := range []*[]byte{&k.Secret, &k.Previous} {
		if len(*secret) == 0 {
			continue
		}
		key, err := wire.GatewayKey(*secret, gateway)
		if err != nil {
			return Key{}, err
		}
		*secret = key
	}
	return k, nil
}

// AttemptAt is Attempt for the datagrams of an attempt that was made at another gateway.
// The table has the secrets of the clients, and that gateway has the keys that these
// secrets make for its name. Secret of the Attempt is that of the key.
func (t *KeyTable) AttemptAt(gateway string, datagrams []byte, n int, now int64) (Attempt, Reason) {
	derive := derivationFor(gateway)
	if derive == nil {
		return Attempt{}, MAC
	}
	return t.attempt(datagrams, n, now, derive)
}

// TaggedAt is Tagged for a text of another gateway, under the key that a client has there:
// secret is its fingerprint.
func (t *KeyTable) TaggedAt(gateway string, id wire.Identifier, secret Fingerprint, text, tag []byte, now int64) bool {
	row, ok := t.find(id)
	derive := derivationFor(gateway)
	if !ok || derive == nil {
		return false
	}
	mac := newMACState()
	for _, r := range t.secretsOf(row, now) {
		key, ok := derive(&mac, &r.key)
		if ok && mac.fingerprint(&key) == secret {
			want, ok := tagUnder(&mac, &key, text)
			return ok && hmac.Equal(want[:], tag)
		}
	}
	return false
}

// derivationFor returns what makes the keys for a gateway; nil: no gateway has this name.
func derivationFor(gateway string) derivation {
	if wire.CheckGateway(gateway) != nil {
		return nil
	}
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		return nil
	}
	message := wire.AppendGatewayMessage(nil, gateway)
	return func(s *macState, secret *macKey) (key macKey, ok bool) {
		mac := s.sign(secret, message)
		if mac == nil {
			return macKey{}, false
		}
		key, err := newMACKey(wire.GatewayKeyOf([wire.MACSize]byte(mac)), &template)
		return key, err == nil
	}
}
