package fleet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
	"sallyport/verify/replay"
)

const (
	version    = 1
	headerSize = 1 + 8 + 4
	recordSize = 8 + 4 + 32 + 4
	// maxRecords is how many secrets of a client have a record: 16 gateways with a key each,
	// during a rotation.
	maxRecords = 32
)

// record is what a fleet knows of one secret of a client.
type record struct {
	secret  verify.Fingerprint
	highest uint32
	stamp   uint32 // the latest of the attempts
	ring    replay.Ring
}

// value is the value of a client's key.
type value struct {
	// tag is random, and another one for each write: a writer whose answer was lost
	// recognises its own write.
	tag uint64
	// removed is the latest stamp of the records that were removed. 0: none.
	removed uint32
	records []record // ascending by secret
}

func (r *record) window() replay.Window { return replay.Recorded(r.highest, r.ring) }

func (r *record) set(w replay.Window) { r.highest, _ = w.Highest(); r.ring = w.Ring() }

// find returns the record of a secret; nil: there is none.
func (v *value) find(secret verify.Fingerprint) *record {
	for i := range v.records {
		if v.records[i].secret == secret {
			return &v.records[i]
		}
	}
	return nil
}

// unused reports whether each nonce of an attempt is unused.
func (v *value) unused(e *sessions.Entry) bool {
	if v.removed > 0 && e.Stamp <= v.removed {
		return false
	}
	r := v.find(e.Secret)
	if r == nil {
		return true
	}
	w := r.window()
	for n := uint64(e.Base); n < uint64(e.Base)+uint64(e.Count); n++ {
		if n > math.MaxUint32 || !w.Unused(uint32(n)) {
			return false
		}
	}
	return true
}

// with returns the value with the nonces of an attempt: Entry.Ring also has
// those of incomplete attempts, which may be granted later.
func (v value) with(e *sessions.Entry) value {
	v.records = slices.Clone(v.records)
	r := v.find(e.Secret)
	if r == nil {
		v.insert(record{secret: e.Secret})
		r = v.find(e.Secret)
	}
	var w replay.Window
	if r.ring != (replay.Ring{}) {
		w = r.window()
	}
	for i := range uint32(e.Count) {
		w.Accept(e.Base + i)
	}
	r.set(w)
	r.stamp = max(r.stamp, e.Stamp)
	return v
}

// insert adds a record. If there is no room, it removes the one with the earliest stamp.
func (v *value) insert(r record) {
	if len(v.records) == maxRecords {
		oldest := 0
		for i := range v.records {
			if v.records[i].stamp < v.records[oldest].stamp {
				oldest = i
			}
		}
		v.removed = max(v.removed, v.records[oldest].stamp)
		v.records = slices.Delete(v.records, oldest, oldest+1)
	}
	i, _ := slices.BinarySearchFunc(v.records, r, bySecret)
	v.records = slices.Insert(v.records, i, r)
}

func bySecret(a, b record) int {
	switch {
	case a.secret < b.secret:
		return -1
	case a.secret > b.secret:
		return 1
	}
	return 0
}

// append appends the encoding.
func (v *value) append(b []byte) []byte {
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, v.tag)
	b = binary.BigEndian.AppendUint32(b, v.removed)
	for i := range v.records {
		r := &v.records[i]
		b = binary.BigEndian.AppendUint64(b, uint64(r.secret))
		b = binary.BigEndian.AppendUint32(b, r.highest)
		for _, word := range r.ring {
			b = binary.BigEndian.AppendUint64(b, word)
		}
		b = binary.BigEndian.AppendUint32(b, r.stamp)
	}
	return b
}

// parse decodes a value. Each value has one encoding.
func parse(b []byte) (v value, err error) {
	switch {
	case len(b) == 0:
		return v, errors.New("the value is empty")
	case b[0] > version:
		return v, cluster.CheckVersion(int(b[0]), version)
	case b[0] != version:
		return v, fmt.Errorf("expected version %d, got %d", version, b[0])
	case len(b) < headerSize+recordSize || len(b) > headerSize+maxRecords*recordSize || (len(b)-headerSize)%recordSize != 0:
		return v, fmt.Errorf("expected %d bytes and 1 to %d times %d, got %d bytes", headerSize, maxRecords, recordSize, len(b))
	}
	v.tag, v.removed = binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint32(b[9:])
	v.records = make([]record, 0, (len(b)-headerSize)/recordSize)
	for rest := b[headerSize:]; len(rest) > 0; rest = rest[recordSize:] {
		r := record{
			secret:  verify.Fingerprint(binary.BigEndian.Uint64(rest)),
			highest: binary.BigEndian.Uint32(rest[8:]),
			stamp:   binary.BigEndian.Uint32(rest[44:]),
		}
		for i := range r.ring {
			r.ring[i] = binary.BigEndian.Uint64(rest[12+8*i:])
		}
		if err := r.check(); err != nil {
			return value{}, err
		}
		if n := len(v.records); n > 0 && v.records[n-1].secret >= r.secret {
			return value{}, errors.New("the records do not ascend by secret")
		}
		v.records = append(v.records, r)
	}
	return v, nil
}

// check refuses a record that no gateway writes.
func (r *record) check() error {
	w := r.window()
	switch {
	case r.secret == 0:
		return errors.New("a record has no secret")
	case w.Unused(r.highest):
		return errors.New("the highest nonce of a record is unused")
	case !w.Clean():
		return errors.New("a record has bits for nonces that it cannot have")
	}
	return nil
}
