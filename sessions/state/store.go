package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// FileName is the name of the state file in its directory.
const FileName = "nonces.db"

// Failures returns how many writes of the file have failed.
func (s *Store) Failures() uint64 { return s.failures.Load() }

// RaiseNonces raises the HighestNonce of each client to the recorded one, if that
// is higher, and sets Used for clients with a record: the highest nonce of a record
// is used, even if it is 0. After an error nothing has changed. A reload calls it
// before it changes anything.
func (s *Store) RaiseNonces(clients []sessions.Client) error {
	marks := make([]mark, len(clients))
	s.behind.raiseMarks(clients, marks) // first: an entry that a flush writes meanwhile is then in the file
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
			marks[i].raise(e.HighestNonce)
		}
		return nil
	}); err != nil {
		return err
	}
	for i := range clients {
		if marks[i].used {
			clients[i].Used, clients[i].HighestNonce = true, max(clients[i].HighestNonce, marks[i].highest)
		}
	}
	return nil
}

// mark is the highest nonce that a client has used, if there is one.
type mark struct {
	highest uint32
	used    bool
}

func (m *mark) raise(nonce uint32) { m.highest, m.used = max(m.highest, nonce), true }

// Snapshot writes a copy of the file, in the format that ReadFile reads. A slow
// writer does not delay grants.
func (s *Store) Snapshot(w io.Writer) error {
	if err := s.flush(nil, nil); err != nil {
		return err
	}
	// Copy to memory first: the file cannot be replaced while it is read.
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

// Close writes all unwritten entries and releases the lock of the directory. After
// an error, the next start assumes a crash.
func (s *Store) Close() error {
	s.behind.stop()
	err := s.flush(nil, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && (s.relaxed || s.header.margin > 0 && s.marginIsOver()) {
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
