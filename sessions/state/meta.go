package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The format of bbolt's files, version 2: pages of pageSize bytes. The first two
// pages point to the tree of buckets. Numbers have the byte order of the machine.
const (
	pageSize       = 4096
	pageHeaderSize = 16
	elementSize    = 16
	metaSize       = 64
	bucketSize     = 16 // of the value that points to a bucket

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	branchPage  = 0x01
	leafPage    = 0x02
	bucketEntry = 0x01
)

var native = binary.NativeEndian

// errForeign is the error for a file that bbolt has not written.
var errForeign = errors.New("not a state file")

// meta is one of the first two pages: the root of the tree after a transaction.
type meta struct{ root, pages, transaction uint64 }

func parseMeta(page []byte) (m meta, err error) {
	b := page[pageHeaderSize:][:metaSize]
	if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion {
		return m, errForeign
	}
	h := fnv.New64a()
	h.Write(b[:metaSize-8])
	if h.Sum64() != native.Uint64(b[metaSize-8:]) {
		return m, errors.New("its checksum is wrong")
	}
	if size := native.Uint32(b[8:]); size != pageSize {
		return m, fmt.Errorf("expected pages of %d bytes, got %d bytes", pageSize, size)
	}
	return meta{root: native.Uint64(b[16:]), pages: native.Uint64(b[40:]), transaction: native.Uint64(b[48:])}, nil
}
