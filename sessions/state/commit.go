package state

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// Record makes it known that nonces were used. A strict store has it on stable
// storage when it returns nil; a relaxed one has it in memory, and on stable
// storage within flushPause, unless the last attempt at that failed: then it
// is as a strict one until one succeeds.
func (s *Store) Record(entries []sessions.Entry) error {
	if s.relaxed && s.late.take(entries) {
		return nil
	}
	return s.flush(entries)
}

// flush makes entries durable, and all that is late with them.
func (s *Store) flush(entries []sessions.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := append(s.late.begin(), entries...)
	if len(batch) == 0 {
		return nil
	}
	err := s.renew()
	if err == nil {
		err = s.update(batch)
	}
	s.late.end(err)
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
		err = s.update(nil)
	}
	if err != nil {
		before.count, before.digest = s.header.count, s.header.digest
		s.header = before
	}
	return err
}

// update writes entries and the header in one transaction. A mark never falls.
func (s *Store) update(entries []sessions.Entry) error {
	if s.db == nil {
		return errors.New("the state file is closed")
	}
	h := s.header
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketName)
		for _, e := range entries {
			if old := b.Get(e.Identifier[:]); old == nil {
				h.count++
			} else if was, err := decodeRecord(e.Identifier[:], old); err != nil {
				return &DamagedError{s.path, err}
			} else if was.Mark >= e.Mark {
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
		entries, err := s.entries()
		if err != nil {
			return err
		}
		if err := write(s.path, s.header, entries); err != nil {
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

// entries returns all that is recorded, in the order of the identifiers.
func (s *Store) entries() (entries []sessions.Entry, err error) {
	err = s.view(func(b *bolt.Bucket) error {
		return b.ForEach(func(key, value []byte) error {
			if len(key) != len(sessions.Entry{}.Identifier) {
				return nil // not a client's
			}
			e, err := decodeRecord(key, value)
			if err != nil {
				return &DamagedError{s.path, err}
			}
			entries = append(entries, e)
			return nil
		})
	})
	return entries, err
}
