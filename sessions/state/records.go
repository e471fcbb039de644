package state

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// maxRecords is the maximum number of records of a client: one for each secret that
// it has, or had. One more removes the one with the earliest stamp.
const maxRecords = 8

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
