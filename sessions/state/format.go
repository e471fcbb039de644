package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// version is that of the file's form. Open refuses later ones; for earlier
// ones, forms says how to read them, and Open writes them anew.
//
//	1  one record a client; the header has a time up to which knocks are refused
//	2  leases; the header says what a start has to refuse, by no clock's time
const version = 2

// The bucket's keys: four bytes name a client, and a lease's begin with 0.
var (
	bucketName = []byte("sallyport")
	versionKey = []byte("version") // uint32; every form has it
	headerKey  = []byte("header")
)

// header says of the records as a whole what none can say of itself. All
// numbers in the file are big-endian.
type header struct {
	open     bool   // a relaxed store is in use, or was until it crashed
	served   bool   // a server has had the file
	lost     uint32 // Unix seconds: nonces of knocks stamped up to then may be used without a record
	reserved uint32 // Unix seconds: no knock stamped later is in the part that a relaxed store has yet to write
	doubt    uint32 // seconds: knocks stamped up to a start and that much later may be used without a record
	count    uint64 // of records and leases
	digest   uint64 // the checksums of all of them, combined by exclusive or
}

const (
	headerSize = 1 + 4 + 4 + 4 + 8 + 8 + 8
	openFlag   = 1
	servedFlag = 2
)

func (h header) encode() []byte {
	b := make([]byte, 1, headerSize)
	if h.open {
		b[0] |= openFlag
	}
	if h.served {
		b[0] |= servedFlag
	}
	b = binary.BigEndian.AppendUint32(b, h.lost)
	b = binary.BigEndian.AppendUint32(b, h.reserved)
	b = binary.BigEndian.AppendUint32(b, h.doubt)
	b = binary.BigEndian.AppendUint64(b, h.count)
	b = binary.BigEndian.AppendUint64(b, h.digest)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

func decodeHeader(b []byte) (h header, err error) {
	if err := checkHeader(b, headerSize, openFlag|servedFlag); err != nil {
		return h, err
	}
	return header{
		open:     b[0]&openFlag != 0,
		served:   b[0]&servedFlag != 0,
		lost:     binary.BigEndian.Uint32(b[1:]),
		reserved: binary.BigEndian.Uint32(b[5:]),
		doubt:    binary.BigEndian.Uint32(b[9:]),
		count:    binary.BigEndian.Uint64(b[13:]),
		digest:   binary.BigEndian.Uint64(b[21:]),
	}, nil
}

// checkHeader checks a header's size, flags and checksum.
func checkHeader(b []byte, size int, flags byte) error {
	if len(b) != size {
		return fmt.Errorf("the header has %d bytes, expected %d", len(b), size)
	}
	if xxhash.Sum64(b[:size-8]) != sumOf(b) || b[0]&^flags != 0 {
		return errors.New("the header's checksum is wrong")
	}
	return nil
}

// A record is the value of a client's key: mark, stamp, ring, and a checksum
// of all this and the key. That there is one says that the mark is used, even
// if it is 0.
const recordSize = 4 + 4 + 4*8 + 8

func encodeRecord(e sessions.Entry) []byte {
	b := make([]byte, 0, recordSize)
	b = binary.BigEndian.AppendUint32(b, e.HighestNonce)
	b = binary.BigEndian.AppendUint32(b, e.Stamp)
	for _, word := range e.Ring {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return binary.BigEndian.AppendUint64(b, checksum(e.Identifier[:], b))
}

func checksum(key, body []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(key)
	d.Write(body)
	return d.Sum64()
}

// sumOf returns the checksum that a sound value ends with.
func sumOf(value []byte) uint64 { return binary.BigEndian.Uint64(value[len(value)-8:]) }

func decodeRecord(key, b []byte) (e sessions.Entry, err error) {
	if !isClient(key) || len(b) != recordSize {
		return e, fmt.Errorf("a record of %d bytes under a key of %d", len(b), len(key))
	}
	e.Identifier = wire.Identifier(key)
	if checksum(key, b[:recordSize-8]) != sumOf(b) {
		return e, fmt.Errorf("the checksum of client %q is wrong", key)
	}
	e.HighestNonce = binary.BigEndian.Uint32(b)
	e.Stamp = binary.BigEndian.Uint32(b[4:])
	for i := range e.Ring {
		e.Ring[i] = binary.BigEndian.Uint64(b[8+8*i:])
	}
	if !e.Ring.Used(e.HighestNonce) {
		return e, fmt.Errorf("the record of client %q contradicts itself", key)
	}
	return e, nil
}

func isClient(key []byte) bool { return len(key) == len(wire.Identifier{}) }
