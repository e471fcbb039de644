package roster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"slices"

	"sallyport/verify/wire"
)

const (
	entryFormat = 1
	nonceSize   = 12
	tagSize     = 16
	// entryOverhead is how much longer an entry is than its line.
	entryOverhead = 1 + nonceSize + tagSize

	entryPurpose    = "sallyport: client of the list"
	manifestPurpose = "sallyport: manifest of the list"
)

// generation is one writing of the whole list. Each has its own keys.
type generation [8]byte

func newGeneration() (g generation) {
	rand.Read(g[:])
	return g
}

func (g generation) String() string { return hex.EncodeToString(g[:]) }

// parseGeneration parses the form of String.
func parseGeneration(s string) (g generation, ok bool) {
	n, err := hex.Decode(g[:], []byte(s[:min(len(s), 2*len(g))]))
	return g, err == nil && n == len(g) && g.String() == s
}

// sealer seals and opens entries and manifests of one generation. It must not be used by two
// goroutines at once.
type sealer struct {
	id         [8]byte // of the key
	generation generation
	aead       cipher.AEAD
	mac        hash.Hash
}

func newSealer(secret [keySize]byte, g generation) *sealer {
	block, err := aes.NewCipher(derive(secret, g[:], "sallyport: clients seal", 32))
	if err != nil {
		panic(err) // only for other sizes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &sealer{keyID(secret), g, aead, hmac.New(sha256.New, derive(secret, g[:], "sallyport: clients digest", 32))}
}

// associated is the associated data of an entry.
func (s *sealer) associated(id wire.Identifier) []byte {
	return slices.Concat([]byte(entryPurpose), s.generation[:], id[:])
}

// seal returns the value of an entry.
func (s *sealer) seal(e Entry) []byte {
	b := make([]byte, 1+nonceSize, entryOverhead+len(e.Line))
	b[0] = entryFormat
	rand.Read(b[1:])
	return s.aead.Seal(b, b[1:], e.Line, s.associated(e.ID))
}

var errEntry = errors.New("unreadable")

// open appends the line of an entry to b.
func (s *sealer) open(b []byte, id wire.Identifier, value []byte) ([]byte, error) {
	if n := len(value) - entryOverhead; n < 1 || n > MaxLine || value[0] != entryFormat {
		return nil, errEntry
	}
	b, err := s.aead.Open(b, value[1:1+nonceSize], value[1+nonceSize:], s.associated(id))
	if err != nil {
		return nil, errEntry
	}
	return b, nil
}
