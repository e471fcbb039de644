package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
	"sallyport/sessions/durable"
)

// portion is how many records one transaction takes when a file is written.
const portion = 10_000

// Create makes a file in which no nonce is used, for a server that has never
// run: its first start refuses nothing. See Open for what a missing file else means. If one is there, the error
// is fs.ErrExist.
func Create(dir string) error {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return durable.AsOwner(filepath.Join(dir, FileName), func(path string) error {
		if _, err := os.Lstat(path); err == nil {
			return fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return write(path, header{}, nil, nil)
	})
}

// write puts a new file with these entries and leases, which are sorted, in the place of
// path, as this user: see durable.AsOwner. After an error path is as it was, unless only the directory could not
// be synced: then it may be either.
func write(path string, h header, entries []sessions.Entry, leases []Lease) (err error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary := path + ".new"
	// What a crash has left is of no use.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
		}
	}()
	fresh := options(time.Second)
	// Nobody else's file: neither one that was there, nor where a link leads.
	fresh.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		return os.OpenFile(name, flag|os.O_CREATE|os.O_EXCL, mode)
	}
	db, err := bolt.Open(temporary, 0o600, fresh)
	if err != nil {
		return err
	}
	err = fill(db, h, entries, leases)
	if err == nil {
		err = db.Sync()
	}
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	// Root's commands leave the file to the server's user.
	if err := durable.KeepOwner(temporary, path); err != nil {
		return err
	}
	return durable.Rename(temporary, path)
}

// fill writes a database's whole content. Nothing of it needs to be durable
// before the end.
func fill(db *bolt.DB, h header, entries []sessions.Entry, leases []Lease) error {
	db.NoSync = true
	h.count, h.digest = uint64(len(leases)+len(entries)), 0
	for first := true; first || len(leases)+len(entries) > 0; first = false {
		// Leases first: that is the order of the keys.
		l := min(len(leases), portion)
		n := min(len(entries), portion-l)
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketName)
			if err != nil {
				return err
			}
			b.FillPercent = 0.9 // they come in order
			put := func(key, value []byte) error {
				h.digest ^= sumOf(value)
				return b.Put(key, value)
			}
			for _, lease := range leases[:l] {
				key := lease.id().key()
				if err := put(key, lease.encode(key)); err != nil {
					return err
				}
			}
			for _, e := range entries[:n] {
				if err := put(e.Identifier[:], encodeRecord(e)); err != nil {
					return err
				}
			}
			if err := b.Put(versionKey, binary.BigEndian.AppendUint32(nil, version)); err != nil {
				return err
			}
			return b.Put(headerKey, h.encode())
		})
		if err != nil {
			return fmt.Errorf("write the records: %w", err)
		}
		leases, entries = leases[l:], entries[n:]
	}
	return nil
}

// options are those of every database: it has no list of free pages to be
// damaged, and is mapped so far ahead that a long read never holds up a
// transaction that needs more of it.
func options(wait time.Duration) *bolt.Options {
	return &bolt.Options{
		Timeout:         wait,
		PageSize:        pageSize,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: 256 << 20,
		NoStatistics:    true,
	}
}

func sortEntries(entries []sessions.Entry) {
	slices.SortFunc(entries, func(a, b sessions.Entry) int {
		return bytes.Compare(a.Identifier[:], b.Identifier[:])
	})
}
