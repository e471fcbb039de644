package preamble

import (
	"encoding/binary"

	"sallyport/verify/wire"
)

// Sizes in bytes.
const (
	// Size is the length of a preamble: that of a knock.
	Size = wire.Size
	// SignedSize is the length of the part before its MAC.
	SignedSize = wire.SignedSize
	// NonceSize is the length of the server's nonce.
	NonceSize = 16
	// AnswerSize is the length of an answer: the nonce, and a MAC.
	AnswerSize = NonceSize + wire.MACSize
	// ProofSize is the length of a proof: a MAC.
	ProofSize = wire.MACSize
	// MaxService is the maximum length of a service's name. A name is not empty.
	MaxService = 255
)

// kind is in place of the sequence ID and of the maximum. Both are negative in a knock
// of no length, so no knock is a preamble, and no preamble a knock.
const kind = 0xFF

// Preamble is the first message. It is parsed, not authenticated.
type Preamble struct {
	Identifier wire.Identifier
	Timestamp  uint32 // Unix seconds
	Nonce      uint32 // of the client's, used for nothing else
	MAC        [wire.MACSize]byte
}

// Parse decodes a preamble. The error, if any, is the first Rule that the bytes break.
// Parse does not check the MAC, does not allocate and does not retain b.
func Parse(b []byte) (Preamble, error) {
	switch {
	case len(b) != Size:
		return Preamble{}, RuleSize
	case b[0] != wire.Magic[0] || b[1] != wire.Magic[1]:
		return Preamble{}, RuleMagic
	case b[wire.OffsetSequence] != kind || b[wire.OffsetMaximum] != kind:
		return Preamble{}, RuleKind
	}
	p := Preamble{
		Identifier: wire.Identifier(b[wire.OffsetIdentifier:]),
		Timestamp:  binary.BigEndian.Uint32(b[wire.OffsetTimestamp:]),
		Nonce:      binary.BigEndian.Uint32(b[wire.OffsetNonce:]),
		MAC:        [wire.MACSize]byte(b[wire.OffsetMAC:]),
	}
	if !p.Identifier.Valid() {
		return Preamble{}, RuleIdentifier
	}
	return p, nil
}

// AppendBinary appends the 48 bytes of p to b. If Parse would refuse those bytes, it
// returns the Rule that they break.
func (p Preamble) AppendBinary(b []byte) ([]byte, error) {
	if !p.Identifier.Valid() {
		return b, RuleIdentifier
	}
	return p.append(b), nil
}

func (p Preamble) append(b []byte) []byte {
	b = p.appendSigned(b)
	return append(b, p.MAC[:]...)
}

func (p Preamble) appendSigned(b []byte) []byte {
	b = append(append(b, wire.Magic...), kind, kind)
	b = append(b, p.Identifier[:]...)
	b = binary.BigEndian.AppendUint32(b, p.Timestamp)
	return binary.BigEndian.AppendUint32(b, p.Nonce)
}

// Answer is the second message, by which the server proves itself. It is parsed, not
// authenticated.
type Answer struct {
	Nonce [NonceSize]byte
	MAC   [wire.MACSize]byte
}

// ParseAnswer decodes an answer. Every AnswerSize bytes are one; of another length they
// break RuleSize.
func ParseAnswer(b []byte) (a Answer, err error) {
	if len(b) != AnswerSize {
		return a, RuleSize
	}
	copy(a.Nonce[:], b)
	copy(a.MAC[:], b[NonceSize:])
	return a, nil
}

// AppendBinary appends the 48 bytes of a to b. The error is nil.
func (a Answer) AppendBinary(b []byte) ([]byte, error) {
	return append(append(b, a.Nonce[:]...), a.MAC[:]...), nil
}
