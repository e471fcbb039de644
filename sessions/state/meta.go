package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The form of bbolt's files, version 2: pages of pageSize bytes, the first two
// of which say where the tree of buckets is. Numbers have the byte order of
// the machine.
const (
	pageSize       = 4096
	pageHeaderSize = 16
	elementSize    = 16
	metaSize       = 64
	bucketSize     = 16 // of the value that leads to a bucket

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	branchPage  = 0x01
	leafPage    = 0x02
	bucketEntry = 0x01
)

var native = binary.NativeEndian

// errForeign says that a file is none of bbolt's.
var errForeign = errors.New("this is not a state file")

// meta is one of the first two pages: where a transaction left the tree.
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
		return m, fmt.Errorf("pages have %d bytes, expected %d", size, pageSize)
	}
	return meta{root: native.Uint64(b[16:]), pages: native.Uint64(b[40:]), transaction: native.Uint64(b[48:])}, nil
}
