package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"fmt"
	"hash"
)

// stateSize is the length of a marshalled SHA-256 state.
const stateSize = 108

// macKey is a client's key as HMAC uses it (RFC 2104): the states of the
// inner and the outer hash after their padded key block. Restoring them saves
// two of the four compressions of an HMAC over 16 bytes.
type macKey struct {
	inner, outer [stateSize]byte
}

func newMACKey(secret []byte) (macKey, error) {
	var block [sha256.BlockSize]byte
	if len(secret) > len(block) {
		sum := sha256.Sum256(secret)
		copy(block[:], sum[:])
	} else {
		copy(block[:], secret)
	}
	var k macKey
	for _, half := range []struct {
		state *[stateSize]byte
		pad   byte
	}{{&k.inner, 0x36}, {&k.outer, 0x5C}} {
		padded := block
		for i := range padded {
			padded[i] ^= half.pad
		}
		h := sha256.New()
		h.Write(padded[:])
		state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			return macKey{}, fmt.Errorf("save the hash state: %w", err)
		}
		if copy(half.state[:], state) != len(state) {
			return macKey{}, fmt.Errorf("save the hash state: expected %d bytes, got %d", stateSize, len(state))
		}
	}
	return k, nil
}

// macState is the scratch memory of one worker's HMACs.
type macState struct {
	hash    hash.Hash
	restore encoding.BinaryUnmarshaler
	sum     [sha256.Size]byte
}

func newMACState() macState {
	h := sha256.New()
	return macState{hash: h, restore: h.(encoding.BinaryUnmarshaler)}
}

// verify reports, in constant time, whether mac is the HMAC of signed under
// the key. A state that cannot be restored verifies nothing.
func (s *macState) verify(key *macKey, signed, mac []byte) bool {
	if s.restore.UnmarshalBinary(key.inner[:]) != nil {
		return false
	}
	s.hash.Write(signed)
	inner := s.hash.Sum(s.sum[:0])
	if s.restore.UnmarshalBinary(key.outer[:]) != nil {
		return false
	}
	s.hash.Write(inner)
	return subtle.ConstantTimeCompare(s.hash.Sum(s.sum[:0]), mac) == 1
}
