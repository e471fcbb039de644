package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// reserveAhead is how far a relaxed store reserves beyond the stamp that requires
// a new reservation. So a grant waits for the disk at most once in that time.
const reserveAhead = 5 // seconds

// Record records used nonces: all entries, or none. When it returns nil, a strict store has them on
// stable storage. A relaxed store has them in memory, and on stable storage within
// flushPause; but if the last flush failed, or a stamp is later than the reserved
// ones, it writes them as a strict store does.
func (s *Store) Record(entries []sessions.Entry) []error {
	if _, err := s.RecordLeases(entries, nil); err != nil {
		return slices.Repeat([]error{err}, len(entries))
	}
	return nil
}

// RecordLeases is Record, and stores leases in the same transaction: a grant may
// take effect when it has returned nil. A lease that is stored already gets a new
// end. It returns the leases that were removed to stay within the limits, also
// with an error; the caller must cut the connections of these.
func (s *Store) RecordLeases(entries []sessions.Entry, leases []Lease) (displaced []Lease, err error) {
	for _, l := range leases {
		if err := l.check(); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		s.noteStamp(e)
	}
	added, displaced := s.leases.put(leases)
	touched := idsOf(leases, displaced)
	if s.relaxed && s.behind.add(entries, touched) {
		return displaced, nil
	}
	if err = s.flush(entries, touched); err != nil {
		s.leases.remove(added)
	}
	return displaced, err
}

// Forget removes leases, whatever their end. When it returns nil, a strict store
// has removed them on stable storage. After an error, or a crash, the next start
// may find them again.
func (s *Store) Forget(leases []Lease) error {
	touched := idsOf(s.leases.remove(leases))
	if len(touched) == 0 || s.relaxed && s.behind.add(nil, touched) {
		return nil
	}
	return s.flush(nil, touched)
}

// Leases returns all stored leases, in a fixed order.
func (s *Store) Leases() []Lease { return s.leases.all() }

func idsOf(lists ...[]Lease) (ids []leaseID) {
	for _, list := range lists {
		for _, l := range list {
			ids = append(ids, l.id())
		}
	}
	return ids
}

// flush writes entries and changed leases, together with all entries and leases
// of writeBehind, to stable storage.
func (s *Store) flush(entries []sessions.Entry, touched []leaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, ids := s.behind.beginFlush()
	batch, ids = append(batch, entries...), append(ids, touched...)
	if len(batch)+len(ids) == 0 {
		return nil
	}
	err := s.repairFile()
	if err == nil {
		err = s.update(batch, ids)
	}
	s.behind.endFlush(err, s.header.reservedUntil)
	if err != nil {
		s.failures.Add(1)
	}
	s.errorLog.report(s.log, s.monotonic(), err, len(entries))
	return err
}

// change changes the header, and writes it to stable storage.
func (s *Store) change(f func(*header)) error {
	before := s.header
	f(&s.header)
	err := s.repairFile()
	if err == nil {
		err = s.update(nil, nil)
	}
	if err != nil {
		before.count, before.digest = s.header.count, s.header.digest
		s.header = before
	}
	return err
}

// update writes entries, the current state of the touched leases, and the header
// in one transaction.
func (s *Store) update(entries []sessions.Entry, touched []leaseID) error {
	h := s.header
	if s.relaxed {
		for _, e := range entries {
			if e.Stamp > h.reservedUntil {
				h.reservedUntil = reserveFor(e.Stamp)
			}
		}
	}
	if h.margin > 0 && s.marginIsOver() {
		h.margin = 0
	}
	return s.transact(h, func(r records) error {
		for _, e := range entries {
			if err := r.add(e); err != nil {
				return &DamagedError{s.path, err}
			}
		}
		for _, id := range touched {
			if err := s.writeLease(r, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// transact makes changes and writes the header in one transaction.
func (s *Store) transact(h header, change func(records) error) error {
	if s.db == nil {
		return errors.New("the state file is closed")
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketName)
		if err := change(records{b, &h}); err != nil {
			return err
		}
		return putHeader(b, h)
	})
	if err == nil {
		s.header = h
		s.writes.Add(1)
		return nil
	}
	// A write that failed has changed nothing on disk, but a mapped page may
	// show it. After any other error, above all of a sync, the disk may lack
	// data that the page cache has.
	var system *fs.PathError
	if errors.As(err, &system) && system.Op == "write" {
		s.repair = max(s.repair, reread)
	} else {
		s.repair = rewrite
	}
	return err
}

// writeLease writes a lease to the file as it is in the table, or deletes it.
func (s *Store) writeLease(r records, id leaseID) error {
	key := id.key()
	if old := r.bucket.Get(key); old != nil {
		if _, err := decodeLease(key, old); err != nil {
			return &DamagedError{s.path, err}
		}
	}
	if l, kept := s.leases.get(id); kept {
		return r.put(key, l.encode(key))
	}
	return r.delete(key)
}

// reserveFor returns the reservation for a stamp.
func reserveFor(stamp uint32) uint32 { return stamp + min(reserveAhead, math.MaxUint32-stamp) }

// repairKind is the action that is required after an error, before the file can
// be used again.
type repairKind int

const (
	noRepair repairKind = iota
	reread              // open and check the file again
	rewrite             // write a new file, then reread
)

// repairFile repairs the file if an error requires it.
func (s *Store) repairFile() error {
	if s.repair == noRepair {
		return nil
	}
	if s.repair == rewrite && s.db != nil {
		c, err := s.readAll()
		if err != nil {
			return err
		}
		if err := write(s.path, s.header, c); err != nil {
			return fmt.Errorf("write a new state file: %w", err)
		}
		s.repair = reread
	}
	s.setDB(nil)
	c, err := readFile(s.path)
	if err != nil {
		return err
	}
	db, err := bolt.Open(s.path, 0o600, options(time.Second))
	if err != nil {
		return fmt.Errorf("open the state file again: %w", err)
	}
	s.setDB(db)
	s.header.count, s.header.digest = c.header.count, c.header.digest
	s.repair = noRepair
	return nil
}

func (s *Store) setDB(db *bolt.DB) {
	s.swap.Lock()
	defer s.swap.Unlock()
	if s.db != nil {
		s.db.Close()
	}
	s.db = db
}

// readAll returns all records and leases, in the order of their keys.
func (s *Store) readAll() (c contents, err error) {
	err = s.view(func(b *bolt.Bucket) error {
		return b.ForEach(func(key, value []byte) error {
			if bytes.Equal(key, versionKey) || bytes.Equal(key, headerKey) {
				return nil
			}
			if err := c.add(key, value); err != nil {
				return &DamagedError{s.path, err}
			}
			return nil
		})
	})
	return c, err
}
