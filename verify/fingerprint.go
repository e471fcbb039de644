package verify

import (
	"crypto/sha256"
	"encoding/binary"

	"sallyport/verify/wire"
)

// Fingerprint identifies a secret of a client without revealing it: the record of
// used nonces has one for each secret. An attacker who has it can try secrets
// against it, as with one captured knock. Zero: no secret.
type Fingerprint uint64

// fingerprintLabel is what the secret signs for its Fingerprint. No knock signs it:
// it does not have 16 bytes.
const fingerprintLabel = "sallyport: used nonces of a secret"

// FingerprintOf returns the Fingerprint of a secret. Secrets that authenticate the
// same knocks have the same one.
func FingerprintOf(secret []byte) (Fingerprint, error) {
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		return 0, err
	}
	key, err := newMACKey(secret, &template)
	if err != nil {
		return 0, err
	}
	s := newMACState()
	return s.fingerprint(&key), nil
}

// FingerprintMessage returns the message whose HMAC-SHA256, under a secret that is not in
// memory, FingerprintOfMAC turns into the Fingerprint.
func FingerprintMessage() []byte { return []byte(fingerprintLabel) }

// FingerprintOfMAC returns the Fingerprint of a secret by its MAC of FingerprintMessage.
func FingerprintOfMAC(mac [wire.MACSize]byte) Fingerprint {
	return max(Fingerprint(binary.BigEndian.Uint64(mac[:])), 1)
}

func (s *macState) fingerprint(key *macKey) Fingerprint {
	sum := s.sign(key, []byte(fingerprintLabel))
	if sum == nil {
		return 1 // the hash cannot be restored, so no knock is authentic either
	}
	return FingerprintOfMAC([wire.MACSize]byte(sum))
}
