package relay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MinKey is the minimum length of the text of a key.
const MinKey = 32

// Key is the secret that the gateways of a fleet share. It is never printed.
type Key struct{ text string }

// ParseKey returns the key of the text of a file, at least MinKey bytes.
func ParseKey(text string) (Key, error) {
	if len(text) < MinKey {
		return Key{}, fmt.Errorf("expected at least %d characters, got %d", MinKey, len(text))
	}
	return Key{text}, nil
}

// String returns no part of the key.
func (Key) String() string { return "relay key" }

// GoString is String.
func (k Key) GoString() string { return k.String() }

// Purposes of keys that are derived from the shared one.
const (
	coordinatorInfo = "sallyport relay 1, coordinator"
	datagramInfo    = "sallyport relay 1, datagrams, "
)

var errNoKey = errors.New("the key is missing")

// coordinators returns the cipher by which coordinators are chosen.
func (k Key) coordinators() (cipher.Block, error) { return k.derive(nil, coordinatorInfo) }

// datagrams returns the AEAD of the datagrams of one run of a gateway to another one.
func (k Key) datagrams(from, to ID, run Run) (cipher.AEAD, error) {
	block, err := k.derive(run[:], datagramInfo+string(from[:])+string(to[:]))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (k Key) derive(salt []byte, info string) (cipher.Block, error) {
	if k.text == "" {
		return nil, errNoKey
	}
	key, err := hkdf.Key(sha256.New, []byte(k.text), salt, info, 32)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}
