package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// version is the version of the file's format. Open refuses later versions. It
// reads earlier ones with decoders, and writes the file again in this format.
//
//	1  one record for each client; the header has a time up to which knocks are refused
//	2  also leases; the header has the gap of a start, without times of a clock
//	3  one record for each secret of a client; and what is left of removed records
const version = 3

// The bucket's keys. Those of records and of removed records begin with a client's
// identifier; a lease's key begins with a 0.
var (
	bucketName = []byte("sallyport")
	versionKey = []byte("version") // uint32; in every format
	headerKey  = []byte("header")
)

// header has the data about all records together. All numbers in the file are
// big-endian.
type header struct {
	open          bool   // a relaxed store is in use, or has crashed
	served        bool   // a server has used the file
	lostUntil     uint32 // Unix seconds; see Gap.LostUntil; 0: none
	reservedUntil uint32 // Unix seconds: no unwritten entry of a relaxed store has a later stamp
	margin        uint32 // seconds; see Gap.NotBeforeMargin
	count         uint64 // of records, removed records and leases
	digest        uint64 // the checksums of all of them, combined by exclusive or
	transaction   uint64 // the number of the transaction that wrote the header
}

const (
	headerSize = 1 + 4 + 4 + 4 + 8 + 8 + 8 + 8
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
	b = binary.BigEndian.AppendUint32(b, h.lostUntil)
	b = binary.BigEndian.AppendUint32(b, h.reservedUntil)
	b = binary.BigEndian.AppendUint32(b, h.margin)
	b = binary.BigEndian.AppendUint64(b, h.count)
	b = binary.BigEndian.AppendUint64(b, h.digest)
	b = binary.BigEndian.AppendUint64(b, h.transaction)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// putHeader writes the header, and the number of the transaction into the bucket.
// bbolt has no checksum for the pointer to the bucket's tree: a damaged one may
// point to the intact tree of an earlier transaction, whose header has a lower
// number.
func putHeader(b *bolt.Bucket, h header) error {
	h.transaction = uint64(b.Tx().ID())
	if err := b.SetSequence(h.transaction); err != nil {
		return err
	}
	return b.Put(headerKey, h.encode())
}

func decodeHeader(b []byte) (h header, err error) {
	if err := checkHeader(b, headerSize, openFlag|servedFlag); err != nil {
		return h, err
	}
	return header{
		open:          b[0]&openFlag != 0,
		served:        b[0]&servedFlag != 0,
		lostUntil:     binary.BigEndian.Uint32(b[1:]),
		reservedUntil: binary.BigEndian.Uint32(b[5:]),
		margin:        binary.BigEndian.Uint32(b[9:]),
		count:         binary.BigEndian.Uint64(b[13:]),
		digest:        binary.BigEndian.Uint64(b[21:]),
		transaction:   binary.BigEndian.Uint64(b[29:]),
	}, nil
}

// checkHeader checks a header's size, flags and checksum.
func checkHeader(b []byte, size int, flags byte) error {
	if len(b) != size {
		return fmt.Errorf("expected a header of %d bytes, got %d bytes", size, len(b))
	}
	if xxhash.Sum64(b[:size-8]) != sumOf(b) || b[0]&^flags != 0 {
		return errors.New("the header's checksum is wrong")
	}
	return nil
}

// A record's key is a client's identifier and the Fingerprint of its secret. Its
// value is the highest nonce, the latest stamp, the ring, and a checksum of these
// and the key. The highest nonce of a record is used, even if it is 0.
//
// Until format 2 the key was the identifier alone. Such a record names no secret,
// and stays until RaiseNonces gives it to the secrets of its client.
const (
	recordSize    = 4 + 4 + 4*8 + 8
	recordKeySize = len(wire.Identifier{}) + 8
)

func recordKey(e sessions.Entry) []byte {
	key := append(make([]byte, 0, recordKeySize), e.Identifier[:]...)
	if e.Secret == 0 {
		return key
	}
	return binary.BigEndian.AppendUint64(key, uint64(e.Secret))
}

func encodeRecord(e sessions.Entry) []byte {
	b := make([]byte, 0, recordSize)
	b = binary.BigEndian.AppendUint32(b, e.HighestNonce)
	b = binary.BigEndian.AppendUint32(b, e.Stamp)
	for _, word := range e.Ring {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return binary.BigEndian.AppendUint64(b, checksum(recordKey(e), b))
}

func checksum(key, body []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(key)
	d.Write(body)
	return d.Sum64()
}

// sumOf returns the checksum at the end of a value.
func sumOf(value []byte) uint64 { return binary.BigEndian.Uint64(value[len(value)-8:]) }

func decodeRecord(key, b []byte) (e sessions.Entry, err error) {
	if !isRecord(key) || len(b) != recordSize {
		return e, fmt.Errorf("expected a record of %d bytes under a key of %d, got %d bytes under a key of %d",
			recordSize, recordKeySize, len(b), len(key))
	}
	e.Identifier = wire.Identifier(key)
	if checksum(key, b[:recordSize-8]) != sumOf(b) {
		return e, fmt.Errorf("the checksum of client %q is wrong", e.Identifier[:])
	}
	if len(key) == recordKeySize {
		if e.Secret = verify.Fingerprint(binary.BigEndian.Uint64(key[len(e.Identifier):])); e.Secret == 0 {
			return e, fmt.Errorf("the record of client %q has a wrong key", e.Identifier[:])
		}
	}
	e.HighestNonce = binary.BigEndian.Uint32(b)
	e.Stamp = binary.BigEndian.Uint32(b[4:])
	for i := range e.Ring {
		e.Ring[i] = binary.BigEndian.Uint64(b[8+8*i:])
	}
	if !e.Ring.Used(e.HighestNonce) {
		return e, fmt.Errorf("the record of client %q is inconsistent: its highest nonce is not marked as used", e.Identifier[:])
	}
	return e, nil
}

func isRecord(key []byte) bool {
	return len(key) == recordKeySize || len(key) == len(wire.Identifier{})
}
