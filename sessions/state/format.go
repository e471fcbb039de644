package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// version is that of the file's form. Later ones are refused; for earlier
// ones, decoders says how to read their records, and Open writes them anew.
const version = 1

// The bucket's keys: four bytes name a client, so these two cannot.
var (
	bucketName = []byte("sallyport")
	versionKey = []byte("version") // uint32; every form has it
	headerKey  = []byte("header")
)

// header says of the records as a whole what none can say of itself. All
// numbers in the file are big-endian.
type header struct {
	open      bool   // a relaxed store is in use, or was until it crashed
	doubt     uint32 // Unix seconds: what is stamped up to then may have no record
	tolerance uint32 // seconds: the largest while the store was last open
	count     uint64 // of records
	digest    uint64 // all records' checksums, combined by exclusive or
}

const headerSize = 1 + 4 + 4 + 8 + 8 + 8

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	if h.open {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint32(b, h.doubt)
	b = binary.BigEndian.AppendUint32(b, h.tolerance)
	b = binary.BigEndian.AppendUint64(b, h.count)
	b = binary.BigEndian.AppendUint64(b, h.digest)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) != headerSize {
		return h, fmt.Errorf("the header has %d bytes, expected %d", len(b), headerSize)
	}
	if body := b[:headerSize-8]; xxhash.Sum64(body) != binary.BigEndian.Uint64(b[headerSize-8:]) || b[0] > 1 {
		return h, errors.New("the header's checksum is wrong")
	}
	return header{
		open:      b[0] == 1,
		doubt:     binary.BigEndian.Uint32(b[1:]),
		tolerance: binary.BigEndian.Uint32(b[5:]),
		count:     binary.BigEndian.Uint64(b[9:]),
		digest:    binary.BigEndian.Uint64(b[17:]),
	}, nil
}

// A record is the value of a client's key: mark, stamp, ring, and a checksum
// of all this and the key.
const recordSize = 4 + 4 + 4*8 + 8

func encodeRecord(e sessions.Entry) []byte {
	b := make([]byte, 0, recordSize)
	b = binary.BigEndian.AppendUint32(b, e.Mark)
	b = binary.BigEndian.AppendUint32(b, e.Stamp)
	for _, word := range e.Ring {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return binary.BigEndian.AppendUint64(b, recordSum(e.Identifier, b))
}

func recordSum(id wire.Identifier, body []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(id[:])
	d.Write(body)
	return d.Sum64()
}

// sumOf returns the checksum that a sound record ends with.
func sumOf(record []byte) uint64 { return binary.BigEndian.Uint64(record[len(record)-8:]) }

func decodeRecord(key, b []byte) (e sessions.Entry, err error) {
	if len(key) != len(e.Identifier) || len(b) != recordSize {
		return e, fmt.Errorf("a record of %d bytes under a key of %d", len(b), len(key))
	}
	e.Identifier = wire.Identifier(key)
	body := b[:recordSize-8]
	if recordSum(e.Identifier, body) != sumOf(b) {
		return e, fmt.Errorf("the checksum of client %q is wrong", key)
	}
	e.Mark = binary.BigEndian.Uint32(b)
	e.Stamp = binary.BigEndian.Uint32(b[4:])
	for i := range e.Ring {
		e.Ring[i] = binary.BigEndian.Uint64(b[8+8*i:])
	}
	if !e.Ring.Used(e.Mark) {
		return e, fmt.Errorf("the record of client %q contradicts itself", key)
	}
	return e, nil
}
