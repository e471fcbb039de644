package state

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// reserveAhead is by how much a relaxed store's reservation goes beyond the
// stamp that needs it: so often, at the most, a grant waits for the disk.
const reserveAhead = 5 // seconds

// Record makes it known that nonces were used. A strict store has it on stable
// storage when it returns nil; a relaxed one has it in memory, and on stable
// storage within flushPause, unless the last attempt at that failed, or a stamp
// is beyond what is reserved: then it is as a strict one.
func (s *Store) Record(entries []sessions.Entry) error {
	_, err := s.RecordLeases(entries, nil)
	return err
}

// RecordLeases is Record, and keeps leases in the same transaction: a grant may
// take effect when it has returned nil. A lease that is kept already gets a new
// end. Leases that had to give way are kept no longer, also after an error; who
// calls has to cut what is connected by them.
func (s *Store) RecordLeases(entries []sessions.Entry, leases []Lease) (displaced []Lease, err error) {
	for _, l := range leases {
		if err := l.check(); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		s.seen(e)
	}
	begun, displaced := s.leases.put(leases)
	touched := idsOf(leases, displaced)
	if s.relaxed && s.late.take(entries, touched) {
		return displaced, nil
	}
	if err = s.flush(entries, touched); err != nil {
		s.leases.remove(begun)
	}
	return displaced, err
}

// Forget gives leases up, whatever their end. A strict store has that on stable
// storage when it returns nil; after an error, or a crash, the next start may
// find them again.
func (s *Store) Forget(leases []Lease) error {
	touched := idsOf(s.leases.remove(leases))
	if len(touched) == 0 || s.relaxed && s.late.take(nil, touched) {
		return nil
	}
	return s.flush(nil, touched)
}

// Leases returns all leases that are kept, in a fixed order.
func (s *Store) Leases() []Lease { return s.leases.all() }

func idsOf(lists ...[]Lease) (ids []leaseID) {
	for _, list := range lists {
		for _, l := range list {
			ids = append(ids, l.id())
		}
	}
	return ids
}

// flush makes entries durable, and what has become of leases, and all that is
// late with them.
func (s *Store) flush(entries []sessions.Entry, touched []leaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, ids := s.late.begin()
	batch, ids = append(batch, entries...), append(ids, touched...)
	if len(batch)+len(ids) == 0 {
		return nil
	}
	err := s.renew()
	if err == nil {
		err = s.update(batch, ids)
	}
	s.late.end(err, s.header.reserved)
	if err != nil {
		s.failures.Add(1)
	}
	s.trouble.report(s.log, s.monotonic(), err, len(entries))
	return err
}

// change makes a change of the header durable.
func (s *Store) change(f func(*header)) error {
	before := s.header
	f(&s.header)
	err := s.renew()
	if err == nil {
		err = s.update(nil, nil)
	}
	if err != nil {
		before.count, before.digest = s.header.count, s.header.digest
		s.header = before
	}
	return err
}

// update writes entries, what the table has of leases, and the header in one
// transaction. A mark never falls.
func (s *Store) update(entries []sessions.Entry, touched []leaseID) error {
	if s.db == nil {
		return errors.New("the state file is closed")
	}
	h := s.header
	if s.relaxed {
		for _, e := range entries {
			if e.Stamp > h.reserved {
				h.reserved = ahead(e.Stamp)
			}
		}
	}
	if h.doubt > 0 && s.doubtIsOver() {
		h.doubt = 0
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketName)
		for _, e := range entries {
			if old := b.Get(e.Identifier[:]); old == nil {
				h.count++
			} else if was, err := decodeRecord(e.Identifier[:], old); err != nil {
				return &DamagedError{s.path, err}
			} else if was.HighestNonce >= e.HighestNonce {
				continue
			} else {
				h.digest ^= sumOf(old)
			}
			record := encodeRecord(e)
			h.digest ^= sumOf(record)
			if err := b.Put(e.Identifier[:], record); err != nil {
				return err
			}
		}
		for _, id := range touched {
			if err := s.follow(b, id, &h); err != nil {
				return err
			}
		}
		return b.Put(headerKey, h.encode())
	})
	if err == nil {
		s.header = h
		return nil
	}
	// A write that failed has changed nothing on disk, but a mapped page may
	// show it. After anything else, a sync above all, the disk may lack what
	// the whole system sees.
	var system *fs.PathError
	if errors.As(err, &system) && system.Op == "write" {
		s.doubts = max(s.doubts, aboutMemory)
	} else {
		s.doubts = aboutDisk
	}
	return err
}

// follow has the file keep of a lease what the table keeps.
func (s *Store) follow(b *bolt.Bucket, id leaseID, h *header) error {
	key := id.key()
	old := b.Get(key)
	if old != nil {
		if _, err := decodeLease(key, old); err != nil {
			return &DamagedError{s.path, err}
		}
		h.count--
		h.digest ^= sumOf(old)
	}
	l, kept := s.leases.get(id)
	switch {
	case kept:
		value := l.encode(key)
		h.count++
		h.digest ^= sumOf(value)
		return b.Put(key, value)
	case old != nil:
		return b.Delete(key)
	}
	return nil
}

func ahead(stamp uint32) uint32 { return stamp + min(reserveAhead, math.MaxUint32-stamp) }

// doubts are about what of the file can be trusted after an error.
type doubts int

const (
	none        doubts = iota
	aboutMemory        // read it again
	aboutDisk          // write it anew
)

// renew gets rid of doubts.
func (s *Store) renew() error {
	if s.doubts == none {
		return nil
	}
	if s.doubts == aboutDisk && s.db != nil {
		entries, leases, err := s.records()
		if err != nil {
			return err
		}
		if err := write(s.path, s.header, entries, leases); err != nil {
			return fmt.Errorf("write a new state file: %w", err)
		}
		s.doubts = aboutMemory
	}
	s.replace(nil)
	c, err := readFile(s.path)
	if err != nil {
		return err
	}
	db, err := bolt.Open(s.path, 0o600, options(time.Second))
	if err != nil {
		return fmt.Errorf("open the state file again: %w", err)
	}
	s.replace(db)
	s.header.count, s.header.digest = c.header.count, c.header.digest
	s.doubts = none
	return nil
}

func (s *Store) replace(db *bolt.DB) {
	s.swap.Lock()
	defer s.swap.Unlock()
	if s.db != nil {
		s.db.Close()
	}
	s.db = db
}

// records returns all that is recorded, in the order of the keys.
func (s *Store) records() (entries []sessions.Entry, leases []Lease, err error) {
	err = s.view(func(b *bolt.Bucket) error {
		return b.ForEach(func(key, value []byte) (err error) {
			switch {
			case isClient(key):
				var e sessions.Entry
				e, err = decodeRecord(key, value)
				entries = append(entries, e)
			case isLease(key):
				var l Lease
				l, err = decodeLease(key, value)
				leases = append(leases, l)
			}
			if err != nil {
				return &DamagedError{s.path, err}
			}
			return nil
		})
	})
	return entries, leases, err
}
