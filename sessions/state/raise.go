package state

import (
	"bytes"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions"
)

// RaiseNonces raises the HighestNonce of each secret of each client to the recorded
// one, if that is higher, and sets Used for secrets with a record: the highest nonce
// of a record is used, even if it is 0. It sets LostUntil for clients with removed
// records. If a record names no secret, RaiseNonces gives it to the secrets of its
// client. A reload calls it before it changes anything. After an error, the clients
// must not be used.
func (s *Store) RaiseNonces(clients []sessions.Client) error {
	s.behind.raise(clients) // first: an entry that a flush writes meanwhile is then in the file
	unnamed, err := s.raise(clients)
	if err != nil || len(unnamed) == 0 {
		return err
	}
	if err := s.adopt(unnamed); err != nil {
		return err
	}
	_, err = s.raise(clients)
	return err
}

// raise is RaiseNonces for the entries in the file. It returns the clients with a
// record that names no secret.
func (s *Store) raise(clients []sessions.Client) (unnamed []sessions.Client, err error) {
	err = s.view(func(b *bolt.Bucket) error {
		cursor := b.Cursor()
		for i := range clients {
			bare, err := raiseFrom(cursor, &clients[i])
			if err != nil {
				return &DamagedError{s.path, err}
			}
			if bare {
				unnamed = append(unnamed, clients[i])
			}
		}
		return nil
	})
	return unnamed, err
}

func raiseFrom(cursor *bolt.Cursor, c *sessions.Client) (unnamed bool, err error) {
	id := c.Identifier[:]
	for key, value := cursor.Seek(id); bytes.HasPrefix(key, id); key, value = cursor.Next() {
		if isRemoved(key) {
			r, err := decodeRemoved(key, value)
			if err != nil {
				return false, err
			}
			c.Current.LostUntil, c.Previous.LostUntil = r.until, r.until
			continue
		}
		e, err := decodeRecord(key, value)
		if err != nil {
			return false, err
		}
		unnamed = unnamed || e.Secret == 0
		raiseTo(c, e)
	}
	return unnamed, nil
}

// raiseTo raises the mark of the secret of an entry.
func raiseTo(c *sessions.Client, e sessions.Entry) {
	for _, s := range []*sessions.Secret{&c.Current, &c.Previous} {
		if s.Fingerprint == e.Secret && e.Secret != 0 {
			s.Used, s.HighestNonce = true, max(s.HighestNonce, e.HighestNonce)
		}
	}
}

// adopt replaces the records of clients that name no secret: each secret that the
// client has now gets a copy. The client may have used the nonces with a secret that
// it no longer has, so the stamp of the record stays as that of a removed one.
func (s *Store) adopt(clients []sessions.Client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.repairFile(); err != nil {
		return err
	}
	return s.transact(s.header, func(r records) error {
		for _, c := range clients {
			if err := r.adopt(c); err != nil {
				return &DamagedError{s.path, err}
			}
		}
		return nil
	})
}

func (r records) adopt(c sessions.Client) error {
	value := r.bucket.Get(c.Identifier[:])
	if value == nil {
		return nil
	}
	e, err := decodeRecord(c.Identifier[:], value)
	if err != nil {
		return err
	}
	for _, s := range []sessions.Secret{c.Current, c.Previous} {
		if s.Fingerprint == 0 {
			continue
		}
		named := e
		named.Secret = s.Fingerprint
		if err := r.add(named); err != nil {
			return err
		}
	}
	return r.remove(e)
}
