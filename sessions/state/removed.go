package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"sallyport/verify/wire"
)

// removed is what is left of the removed records of a client: the latest stamp of
// them. All attempts that they recorded have a knock with that stamp or an earlier
// one. So knocks with such stamps are refused, whatever their secret is, and a
// secret that comes back may have no record, and still no nonce opens twice.
type removed struct {
	client wire.Identifier
	until  uint32
}

// The key of a removed is the client and a letter. Its value is the stamp, and a
// checksum of this and the key.
const (
	removedMark      = 'r'
	removedKeySize   = len(wire.Identifier{}) + 1
	removedValueSize = 4 + 8
)

func isRemoved(key []byte) bool { return len(key) == removedKeySize }

func removedKey(id wire.Identifier) []byte {
	return append(append(make([]byte, 0, removedKeySize), id[:]...), removedMark)
}

func (r removed) encode() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, removedValueSize), r.until)
	return binary.BigEndian.AppendUint64(b, checksum(removedKey(r.client), b))
}

func decodeRemoved(key, value []byte) (r removed, err error) {
	if !isRemoved(key) || len(value) != removedValueSize {
		return r, fmt.Errorf("expected a stamp of %d bytes under a key of %d, got %d bytes under a key of %d",
			removedValueSize, removedKeySize, len(value), len(key))
	}
	if key[removedKeySize-1] != removedMark || checksum(key, value[:4]) != sumOf(value) {
		return r, fmt.Errorf("the checksum of the removed records of client %q is wrong", key[:removedKeySize-1])
	}
	return removed{wire.Identifier(key), binary.BigEndian.Uint32(value)}, nil
}

func sortRemoved(list []removed) {
	slices.SortFunc(list, func(a, b removed) int { return bytes.Compare(a.client[:], b.client[:]) })
}

// removedUntil returns the latest stamp of a client's removed records; 0: there are
// none.
func removedUntil(b *bolt.Bucket, id wire.Identifier) (uint32, error) {
	key := removedKey(id)
	value := b.Get(key)
	if value == nil {
		return 0, nil
	}
	r, err := decodeRemoved(key, value)
	return r.until, err
}
