package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Layout of a knock, in bytes from the start of the UDP payload.
const (
	OffsetMagic      = 0
	OffsetSequence   = 2
	OffsetMaximum    = 3
	OffsetIdentifier = 4
	OffsetTimestamp  = 8
	OffsetNonce      = 12
	OffsetMAC        = 16

	// Size is the exact length of a datagram.
	Size = 48
	// SignedSize is the length of the part that the MAC covers: all bytes
	// before the MAC.
	SignedSize = OffsetMAC
	// MACSize is the length of an HMAC-SHA256.
	MACSize = sha256.Size
	// MaxKnocks is the largest number of knocks in a sequence: sequence IDs
	// are signed bytes, 0 to 127.
	MaxKnocks = 128
)

// Magic is the beginning of every knock: "PK" for port knocking.
const Magic = "PK"

// Knock is one decoded message (paper, section 4). It is parsed, not
// authenticated. The zero value is not a valid knock.
type Knock struct {
	Sequence   int8 // 0 to Maximum: the index of this knock in its sequence
	Maximum    int8 // the sequence ID of the last knock, n-1
	Identifier Identifier
	Timestamp  uint32 // Unix seconds
	Nonce      uint32
	MAC        [MACSize]byte
}

// Parse decodes a datagram. The error, if any, is the first Rule that the
// datagram breaks. Parse does not check the MAC, does not allocate and does
// not retain b.
func Parse(b []byte) (Knock, error) {
	if len(b) != Size {
		return Knock{}, RuleSize
	}
	if b[0] != Magic[0] || b[1] != Magic[1] {
		return Knock{}, RuleMagic
	}
	k := Knock{
		Sequence:   int8(b[OffsetSequence]),
		Maximum:    int8(b[OffsetMaximum]),
		Identifier: Identifier(b[OffsetIdentifier:]),
		Timestamp:  binary.BigEndian.Uint32(b[OffsetTimestamp:]),
		Nonce:      binary.BigEndian.Uint32(b[OffsetNonce:]),
		MAC:        [MACSize]byte(b[OffsetMAC:]),
	}
	if err := k.validate(); err != nil {
		return Knock{}, err
	}
	return k, nil
}

// AppendBinary appends the 48 bytes of k to b, with the MAC that k has (see
// Sign). If Parse would refuse those bytes, it returns the Rule that they break.
func (k Knock) AppendBinary(b []byte) ([]byte, error) {
	if err := k.validate(); err != nil {
		return b, err
	}
	signed := k.signed()
	return append(append(b, signed[:]...), k.MAC[:]...), nil
}

// Sign returns k with its MAC set: HMAC-SHA256 under the client's secret over
// the 16 bytes before the MAC (paper, section 5.5).
func (k Knock) Sign(secret []byte) Knock {
	signed := k.signed()
	mac := hmac.New(sha256.New, secret)
	mac.Write(signed[:])
	mac.Sum(k.MAC[:0])
	return k
}

func (k Knock) validate() error {
	switch {
	case k.Maximum < 0:
		return RuleMaximum
	case k.Sequence < 0 || k.Sequence > k.Maximum:
		return RuleSequence
	case !k.Identifier.Valid():
		return RuleIdentifier
	}
	return nil
}

// Message returns the bytes whose HMAC-SHA256 under the client's secret is the MAC, for a
// secret that is not in memory: see Sign.
func (k Knock) Message() [SignedSize]byte { return k.signed() }

func (k Knock) signed() (b [SignedSize]byte) {
	copy(b[OffsetMagic:], Magic)
	b[OffsetSequence] = byte(k.Sequence)
	b[OffsetMaximum] = byte(k.Maximum)
	copy(b[OffsetIdentifier:], k.Identifier[:])
	binary.BigEndian.PutUint32(b[OffsetTimestamp:], k.Timestamp)
	binary.BigEndian.PutUint32(b[OffsetNonce:], k.Nonce)
	return b
}
