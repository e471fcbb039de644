package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// FileName is the state file's, in its directory.
const FileName = "nonces.db"

// Failures is how often the file could not be written.
func (s *Store) Failures() uint64 { return s.failures.Load() }

// Raise raises the mark of each client to what is recorded, if that is higher,
// and says which marks are used: a recorded one is, even if it is 0. After an
// error nothing has changed. A reload calls it before it changes anything.
func (s *Store) Raise(clients []sessions.Client) error {
	marks := make([]mark, len(clients))
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

// mark is the highest nonce that a client has used, if it has used one.
type mark struct {
	highest uint32
	used    bool
}

func (m *mark) raise(nonce uint32) { m.highest, m.used = max(m.highest, nonce), true }

// Snapshot writes a copy of the file, as ReadFile reads it. A writer that is
// slow keeps no grant waiting.
func (s *Store) Snapshot(w io.Writer) error {
	if err := s.flush(nil, nil); err != nil {
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

// Close writes what is left and gives the directory back. After an error the
// next start takes this for a crash.
func (s *Store) Close() error {
	s.late.stop()
	err := s.flush(nil, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && (s.relaxed || s.header.doubt > 0 && s.doubtIsOver()) {
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
