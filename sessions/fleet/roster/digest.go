package roster

import (
	"encoding/binary"
	"math/bits"

	"sallyport/verify/wire"
)

// digest is an unsigned number of 256 bits, big-endian: the sum of the codes of a set of
// entries. An entry can be added and taken away without the others. The codes are secret,
// so that no other set with the same sum can be found (MSet-Add-Hash of Clarke et al.,
// 2003). The sum is secret, too: the manifest is sealed.
type digest [32]byte

// code returns the number of one entry.
func (s *sealer) code(id wire.Identifier, value []byte) (d digest) {
	s.mac.Reset()
	s.mac.Write(id[:])
	s.mac.Write(value)
	s.mac.Sum(d[:0])
	return d
}

func (d *digest) add(x digest) { d.combine(x, bits.Add64) }

func (d *digest) subtract(x digest) { d.combine(x, bits.Sub64) }

func (d *digest) combine(x digest, op func(a, b, carry uint64) (uint64, uint64)) {
	var carry uint64
	for i := len(d) - 8; i >= 0; i -= 8 {
		var n uint64
		n, carry = op(binary.BigEndian.Uint64(d[i:]), binary.BigEndian.Uint64(x[i:]), carry)
		binary.BigEndian.PutUint64(d[i:], n)
	}
}

// mirror is the set of the entries that etcd has, without their content.
type mirror struct {
	codes map[wire.Identifier]digest
	sum   digest
}

func newMirror(size int) *mirror { return &mirror{codes: make(map[wire.Identifier]digest, size)} }

// set adds or replaces an entry.
func (m *mirror) set(id wire.Identifier, code digest) {
	m.remove(id)
	m.codes[id] = code
	m.sum.add(code)
}

func (m *mirror) remove(id wire.Identifier) {
	if old, ok := m.codes[id]; ok {
		m.sum.subtract(old)
		delete(m.codes, id)
	}
}

// matches reports whether the set is that of a manifest.
func (m *mirror) matches(of manifest) bool {
	return uint32(len(m.codes)) == of.count && m.sum == of.digest
}
