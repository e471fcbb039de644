package roster

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"
)

const (
	manifestFormat = 1
	headerSize     = 1 + 8 + 8
	fixedSize      = 8 + 8 + 8 + 4 + 32 + 1
	markSize       = 8 + 8
	// maxHistory is how many of the last versions a manifest names.
	maxHistory = 32
)

// Mark is one version of the list. The tag is random: two editors that write the same
// version, by rights or after a roll-back, write two marks.
type Mark struct {
	Version uint64
	Tag     [8]byte
}

// manifest is what makes a set of entries a list.
type manifest struct {
	generation generation
	whole      uint64 // the version in which an operator wrote all entries
	written    time.Time
	count      uint32
	digest     digest
	history    []Mark // descending versions; the first one is of this list
}

func (m manifest) version() uint64 { return m.history[0].Version }

// follows reports whether this list descends from one with a mark, or is that list.
func (m manifest) follows(k Mark) bool { return slices.Contains(m.history, k) }

// next returns the manifest of the next version, with a new tag.
func (m manifest) next(version uint64, now time.Time) manifest {
	k := Mark{Version: version}
	rand.Read(k.Tag[:])
	m.history = append([]Mark{k}, m.history[:min(len(m.history), maxHistory-1)]...)
	m.written = now
	return m
}

// appendBinary appends the plaintext.
func (m manifest) appendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.version())
	b = binary.BigEndian.AppendUint64(b, m.whole)
	b = binary.BigEndian.AppendUint64(b, uint64(m.written.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, m.count)
	b = append(b, m.digest[:]...)
	b = append(b, byte(len(m.history)))
	for _, k := range m.history {
		b = append(binary.BigEndian.AppendUint64(b, k.Version), k.Tag[:]...)
	}
	return b
}

var errManifest = errors.New("the manifest is unreadable")

// parsePlain parses the plaintext of a manifest.
func parsePlain(b []byte) (m manifest, err error) {
	if len(b) < fixedSize+markSize || len(b) != fixedSize+markSize*int(b[fixedSize-1]) || b[fixedSize-1] > maxHistory {
		return m, errManifest
	}
	version := binary.BigEndian.Uint64(b)
	m.whole = binary.BigEndian.Uint64(b[8:])
	written := binary.BigEndian.Uint64(b[16:])
	m.written = time.UnixMilli(int64(written))
	m.count = binary.BigEndian.Uint32(b[24:])
	m.digest = digest(b[28:])
	for b = b[fixedSize:]; len(b) > 0; b = b[markSize:] {
		k := Mark{binary.BigEndian.Uint64(b), [8]byte(b[8:])}
		if n := len(m.history); n > 0 && k.Version >= m.history[n-1].Version {
			return m, errManifest
		}
		m.history = append(m.history, k)
	}
	if m.version() != version || m.whole == 0 || m.whole > version {
		return m, errManifest
	}
	return m, nil
}

// header is the part of a manifest that is not sealed, and the associated data of the
// rest.
type header struct {
	key        [8]byte // the ID of the key
	generation generation
}

func (h header) appendBinary(b []byte) []byte {
	return append(append(append(b, manifestFormat), h.key[:]...), h.generation[:]...)
}

func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize+nonceSize+tagSize || b[0] != manifestFormat {
		return h, errManifest
	}
	return header{[8]byte(b[1:]), generation(b[9:])}, nil
}

// sealManifest returns the value of a manifest.
func (s *sealer) sealManifest(m manifest) []byte {
	b := header{s.id, s.generation}.appendBinary(nil)
	associated := append([]byte(manifestPurpose), b...)
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	return s.aead.Seal(append(b, nonce[:]...), nonce[:], m.appendBinary(nil), associated)
}

// isLater reports whether a manifest that this release cannot read is of a later one, which
// keeps the place of the key's ID. Other garbage is that of an attacker, and may be replaced.
func (k Key) isLater(value []byte) bool {
	if len(value) < headerSize || value[0] <= manifestFormat {
		return false
	}
	return slices.ContainsFunc(k.secrets, func(s [keySize]byte) bool { return keyID(s) == [8]byte(value[1:]) })
}

// openManifest opens the value of a manifest, and returns the sealer of its generation.
// Errors are KeyError, AlteredError and cluster.VersionError.
func (k Key) openManifest(value []byte) (manifest, *sealer, error) {
	h, err := parseHeader(value)
	if err != nil {
		if k.isLater(value) {
			return manifest{}, nil, newer(value[0])
		}
		return manifest{}, nil, &AlteredError{err.Error()}
	}
	for _, secret := range k.secrets {
		if keyID(secret) != h.key {
			continue
		}
		s := newSealer(secret, h.generation)
		associated := append([]byte(manifestPurpose), value[:headerSize]...)
		plain, err := s.aead.Open(nil, value[headerSize:headerSize+nonceSize], value[headerSize+nonceSize:], associated)
		if err != nil {
			return manifest{}, nil, &AlteredError{"its manifest does not open"}
		}
		m, err := parsePlain(plain)
		if err != nil {
			return manifest{}, nil, &AlteredError{err.Error()}
		}
		m.generation = h.generation
		return m, s, nil
	}
	return manifest{}, nil, &KeyError{hex.EncodeToString(h.key[:]), k.IDs()}
}
