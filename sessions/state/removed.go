package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// maxRecords is the maximum number of records of a client: one for each secret that
// it has, or had. One more removes the one with the earliest stamp.
const maxRecords = 8

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

// records is a transaction on the bucket that keeps the header's count and digest.
type records struct {
	bucket *bolt.Bucket
	header *header
}

func (r records) put(key, value []byte) error {
	if old := r.bucket.Get(key); old != nil {
		r.header.digest ^= sumOf(old)
	} else {
		r.header.count++
	}
	r.header.digest ^= sumOf(value)
	return r.bucket.Put(key, value)
}

func (r records) delete(key []byte) error {
	old := r.bucket.Get(key)
	if old == nil {
		return nil
	}
	r.header.count--
	r.header.digest ^= sumOf(old)
	return r.bucket.Delete(key)
}

// add adds an entry to the record of its secret. A record's HighestNonce and Stamp
// never fall.
func (r records) add(e sessions.Entry) error {
	key := recordKey(e)
	old := r.bucket.Get(key)
	if old == nil {
		if err := r.makeRoom(e.Identifier); err != nil {
			return err
		}
		return r.put(key, encodeRecord(e))
	}
	was, err := decodeRecord(key, old)
	if err != nil {
		return err
	}
	if merged := merge(was, e); merged != was {
		return r.put(key, encodeRecord(merged))
	}
	return nil
}

// merge combines two entries of the same secret.
func merge(a, b sessions.Entry) sessions.Entry {
	if b.HighestNonce > a.HighestNonce {
		a, b = b, a
	}
	a.Stamp = max(a.Stamp, b.Stamp)
	return a
}

// makeRoom removes records of a client until it has room for one more.
func (r records) makeRoom(id wire.Identifier) error {
	list, err := recordsOf(r.bucket, id)
	if err != nil {
		return err
	}
	for ; len(list) >= maxRecords; list = list[1:] {
		slices.SortFunc(list, func(a, b sessions.Entry) int { return int(int64(a.Stamp) - int64(b.Stamp)) })
		if err := r.remove(list[0]); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a record, and keeps its stamp.
func (r records) remove(e sessions.Entry) error {
	until, err := removedUntil(r.bucket, e.Identifier)
	if err != nil {
		return err
	}
	if err := r.put(removedKey(e.Identifier), removed{e.Identifier, max(until, e.Stamp, 1)}.encode()); err != nil {
		return err
	}
	return r.delete(recordKey(e))
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

// recordsOf returns the records of a client that name a secret.
func recordsOf(b *bolt.Bucket, id wire.Identifier) (list []sessions.Entry, err error) {
	c := b.Cursor()
	for key, value := c.Seek(id[:]); bytes.HasPrefix(key, id[:]); key, value = c.Next() {
		if len(key) != recordKeySize {
			continue
		}
		e, err := decodeRecord(key, value)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}
