package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"errors"
	"fmt"
	"hash"

	"sallyport/verify/wire"
)

// Layout of a marshalled SHA-256 state after one whole block: four bytes that
// identify the format, the chaining value, then an empty block and the length
// so far. Only the chaining value depends on the key.
const (
	stateSize  = 108
	chainStart = 4
	chainSize  = sha256.Size
)

// macKey is a client's key as HMAC uses it (RFC 2104): the chaining values of
// the inner and the outer hash after their padded key block. An HMAC over 16
// bytes takes four compressions; restoring these values saves two of them. Both
// values fit into one cache line.
type macKey struct {
	inner, outer [chainSize]byte
}

// stateOfBlock returns the marshalled state after one block.
func stateOfBlock(block []byte) (state [stateSize]byte, err error) {
	h := sha256.New()
	h.Write(block)
	b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err == nil && copy(state[:], b) != len(b) {
		err = fmt.Errorf("expected %d bytes, got %d bytes", stateSize, len(b))
	}
	if err != nil {
		err = fmt.Errorf("save the hash state: %w", err)
	}
	return state, err
}

func newMACKey(secret []byte, template *[stateSize]byte) (k macKey, err error) {
	var block [sha256.BlockSize]byte
	if len(secret) > len(block) {
		sum := sha256.Sum256(secret)
		copy(block[:], sum[:])
	} else {
		copy(block[:], secret)
	}
	for _, half := range []struct {
		chain *[chainSize]byte
		pad   byte
	}{{&k.inner, 0x36}, {&k.outer, 0x5C}} {
		padded := block
		for i := range padded {
			padded[i] ^= half.pad
		}
		state, err := stateOfBlock(padded[:])
		if err != nil {
			return macKey{}, err
		}
		*half.chain = [chainSize]byte(state[chainStart:])
		// A macKey drops the rest of the state, so the rest must be the same
		// for every key.
		*(*[chainSize]byte)(state[chainStart:]) = [chainSize]byte(template[chainStart:])
		if state != *template {
			return macKey{}, errors.New("save the hash state: unexpected format")
		}
	}
	return k, nil
}

// macState is the scratch memory of one worker's HMACs.
type macState struct {
	hash    hash.Hash
	restore encoding.BinaryUnmarshaler
	state   [stateSize]byte
	sum     [sha256.Size]byte

	// Passed to an interface, so local variables would be allocated.
	isnMessage     [wire.ISNMessageSize]byte
	closingMessage [wire.ClosingSize]byte
}

func newMACState() macState {
	h := sha256.New()
	s := macState{hash: h, restore: h.(encoding.BinaryUnmarshaler)}
	// If this fails, no state can be restored, and verify accepts no MAC.
	s.state, _ = stateOfBlock(make([]byte, sha256.BlockSize))
	return s
}

// begin restores the hash after a padded key block.
func (s *macState) begin(chain *[chainSize]byte) bool {
	*(*[chainSize]byte)(s.state[chainStart:]) = *chain
	return s.restore.UnmarshalBinary(s.state[:]) == nil
}

// verify reports, in constant time, whether mac is the HMAC of signed under
// the key. If a state cannot be restored, verify returns false.
func (s *macState) verify(key *macKey, signed, mac []byte) bool {
	sum := s.sign(key, signed)
	return sum != nil && subtle.ConstantTimeCompare(sum, mac) == 1
}

// sign returns the HMAC of signed under the key, valid until the next call. If a
// state cannot be restored, sign returns nil.
func (s *macState) sign(key *macKey, signed []byte) []byte {
	if !s.begin(&key.inner) {
		return nil
	}
	s.hash.Write(signed)
	inner := s.hash.Sum(s.sum[:0])
	if !s.begin(&key.outer) {
		return nil
	}
	s.hash.Write(inner)
	return s.hash.Sum(s.sum[:0])
}
