package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
	"sallyport/sessions/durable"
)

// recordsPerTransaction is the number of records in a transaction when a file is
// written.
const recordsPerTransaction = 10_000

// Create makes a file without used nonces, for a server that has never run: its
// first start refuses no knock. Without this file, Open assumes that the file was
// lost. If the file exists, the error is fs.ErrExist.
func Create(dir string) error {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := durable.AsOwner(filepath.Join(dir, FileName), func(path string) error {
		if _, err := os.Lstat(path); err == nil {
			return fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return write(path, header{}, contents{})
	})
	if err != nil {
		return err
	}
	// No operation was used either.
	if _, err := ReadUses(dir); errors.Is(err, fs.ErrNotExist) {
		return WriteUses(dir, nil)
	}
	return nil
}

// write replaces the file at path by a new one with this content, except for its
// header. The content must be sorted. It has the rights of the caller: see
// durable.AsOwner. After an error the old file is unchanged, unless only the sync of
// the directory failed: then path may have either file.
func write(path string, h header, c contents) error { return writeForm(path, version, h, c) }

// writeForm is write for a format, from 2 on. The content must be one that the format has.
func writeForm(path string, form uint32, h header, c contents) (err error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary := path + ".new"
	// A file that a crash has left is useless.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
		}
	}()
	fresh := options(time.Second)
	// Open only a new file: neither an existing one, nor the target of a link.
	fresh.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		return os.OpenFile(name, flag|os.O_CREATE|os.O_EXCL, mode)
	}
	db, err := bolt.Open(temporary, 0o600, fresh)
	if err != nil {
		return err
	}
	err = fill(db, form, h, c)
	if err == nil {
		err = db.Sync()
	}
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	// A command of root gives the file to the server's user.
	if err := durable.KeepOwner(temporary, path); err != nil {
		return err
	}
	return durable.Rename(temporary, path)
}

// fill writes the whole content of a database. The caller syncs it at the end.
func fill(db *bolt.DB, form uint32, h header, c contents) error {
	db.NoSync = true
	h.count, h.digest = 0, 0
	next, stop := iter.Pull2(c.values)
	defer stop()
	for more := true; more; {
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketName)
			if err != nil {
				return err
			}
			b.FillPercent = 0.9 // the keys are sorted, except for some
			for range recordsPerTransaction {
				var key, value []byte
				if key, value, more = next(); !more {
					break
				}
				if err := (records{b, &h}).put(key, value); err != nil {
					return err
				}
			}
			if err := b.Put(versionKey, binary.BigEndian.AppendUint32(nil, form)); err != nil {
				return err
			}
			return putHeader(b, h)
		})
		if err != nil {
			return fmt.Errorf("write the records: %w", withCause(err))
		}
	}
	return nil
}

// causeError is an error with its cause, of which the database keeps the text only.
type causeError struct {
	error
	cause syscall.Errno
}

func (e *causeError) Unwrap() []error { return []error{e.error, e.cause} }

// withCause adds the cause of an error of the database, so that a command can name a remedy.
func withCause(err error) error {
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		if !errors.Is(err, cause) && strings.HasSuffix(err.Error(), cause.Error()) {
			return &causeError{err, cause}
		}
	}
	return err
}

// values yields the keys and values of the content. Leases are first: that is the
// order of the keys.
func (c contents) values(yield func(key, value []byte) bool) {
	for _, l := range c.leases {
		if key := l.id().key(); !yield(key, l.encode(key)) {
			return
		}
	}
	for _, e := range c.entries {
		if !yield(recordKey(e), encodeRecord(e)) {
			return
		}
	}
	for _, r := range c.removed {
		if !yield(removedKey(r.client), r.encode()) {
			return
		}
	}
}

// options returns the options of every database: the file has no list of free
// pages that could be damaged, and the mapping is so large that a transaction that
// grows the file does not wait for a long read.
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
		return bytes.Compare(recordKey(a), recordKey(b))
	})
}
