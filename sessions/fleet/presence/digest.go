package presence

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/binary"
)

// iterations is how often a guess of the content must be hashed: some ten milliseconds
// of a processor.
const iterations = 1 << 16

// Digest returns the digest of a part of the configuration. The content may have secrets:
// an attacker who reads etcd can try secrets against the digest, but only all secrets of the
// part at once, and each try costs as much as that of a password. A captured knock is a
// cheaper test.
func Digest(part string, content []byte) (Part, error) {
	sum := sha256.Sum256(content)
	key, err := pbkdf2.Key(sha256.New, string(sum[:]), []byte("sallyport: part of a gateway: "+part), iterations, sha256.Size)
	if err != nil {
		return Part{}, err
	}
	return Part{part, binary.BigEndian.Uint64(key)}, nil
}
