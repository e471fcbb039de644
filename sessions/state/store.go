package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// FileName is the state file's, in its directory.
const FileName = "nonces.db"

// Doubt is until when what is stamped may have been used without a record.
func (s *Store) Doubt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Unix(int64(s.header.doubt), 0)
}

// Failures is how often the file could not be written.
func (s *Store) Failures() uint64 { return s.failures.Load() }

// Raise raises the mark of each client to what is recorded, if that is higher.
// After an error no mark has changed. A reload calls it before it changes
// anything, and then Widen.
func (s *Store) Raise(clients []sessions.Client) error {
	marks := make([]uint32, len(clients))
	s.late.marks(clients, marks) // first: what a flush takes from there meanwhile is in the file
	if err := s.view(func(b *bolt.Bucket) error {
		for i := range clients {
			id := clients[i].Identifier
			value := b.Get(id[:])
			if value == nil {
				continue
			}
			e, err := decodeRecord(id[:], value)
			if err != nil {
				return &DamagedError{s.path, err}
			}
			marks[i] = max(marks[i], e.Mark)
		}
		return nil
	}); err != nil {
		return err
	}
	for i := range clients {
		clients[i].Mark = max(clients[i].Mark, marks[i])
	}
	return nil
}

// Snapshot writes a copy of the file, as ReadFile reads it. A writer that is
// slow keeps no grant waiting.
func (s *Store) Snapshot(w io.Writer) error {
	if err := s.flush(nil); err != nil {
		return err
	}
	// In memory first: while it is read, the file cannot be replaced.
	var copied bytes.Buffer
	if err := s.view(func(b *bolt.Bucket) error {
		copied.Grow(int(b.Tx().Size()))
		_, err := b.Tx().WriteTo(&copied)
		return err
	}); err != nil {
		return err
	}
	_, err := copied.WriteTo(w)
	return err
}

func (s *Store) view(f func(*bolt.Bucket) error) error {
	s.swap.RLock()
	defer s.swap.RUnlock()
	if s.db == nil {
		return errors.New("the state file is being replaced after an error")
	}
	return s.db.View(func(tx *bolt.Tx) error { return f(tx.Bucket(bucketName)) })
}

// Widen says that knocks may from now on lie as far from now as that, in case
// that a relaxed store ends in a crash. A tolerance that is not wider changes
// nothing. After an error the store goes on as it was; at most the disk has the
// wider tolerance already, by which a start after a crash refuses more. So a
// reload that fails afterwards need not take it back.
func (s *Store) Widen(tolerance time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	wider := uint32(tolerance / time.Second)
	if !s.relaxed || wider <= s.header.tolerance {
		return nil
	}
	return s.change(func(h *header) { h.tolerance = wider })
}

// Close writes what is left and gives the directory back. After an error the
// next start takes this for a crash.
func (s *Store) Close() error {
	s.late.stop()
	err := s.flush(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.relaxed {
		err = s.change(func(h *header) { h.open = false })
	}
	s.swap.Lock()
	defer s.swap.Unlock()
	if s.db != nil {
		if closeErr := s.db.Close(); err == nil {
			err = closeErr
		}
		s.db = nil
	}
	s.lock.Close()
	if err != nil {
		return fmt.Errorf("close the state file: %w", err)
	}
	return nil
}
