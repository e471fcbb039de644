package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// FileName is the name of the state file in its directory.
const FileName = "nonces.db"

// Writes returns how many transactions are on stable storage since the start.
func (s *Store) Writes() uint64 { return s.writes.Load() }

// Path returns the path of the file.
func (s *Store) Path() string { return s.path }

// Failures returns how many writes of the file have failed.
func (s *Store) Failures() uint64 { return s.failures.Load() }

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
