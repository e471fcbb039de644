package verify

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"sync/atomic"
	"time"

	"sallyport/verify/wire"
)

// Key is one row of the key table.
type Key struct {
	Identifier wire.Identifier
	Secret     []byte // the UTF-8 bytes of the shared secret; not empty
	// Previous is the secret before a rotation, good until Until. Empty: none.
	Previous []byte
	Until    time.Time
}

// KeyTable finds a client's key by its identifier. It is immutable and safe for
// concurrent use.
type KeyTable struct {
	number uint32
	index  map[wire.Identifier]uint32
	rows   []row
	// Few clients have one, so it takes no room in the others' rows.
	previous map[uint32]previousKey
}

// tables counts the tables that this process has made.
var tables atomic.Uint32

// row is what a check needs of a client, side by side.
type row struct {
	key   macKey
	floor Floor
}

// Floor is the lowest nonce that a client can still use. Whoever owns the
// client's window raises it; the verifiers, which only read it, refuse what
// lies below without an HMAC. The zero value refuses nothing.
type Floor struct{ lowest atomic.Uint32 }

// Raise sets the floor, if it is higher than before. One goroutine at a time
// may call it.
func (f *Floor) Raise(lowest uint32) {
	if lowest > f.lowest.Load() {
		f.lowest.Store(lowest)
	}
}

type previousKey struct {
	key   macKey
	until int64 // Unix seconds
}

// NewKeyTable computes the key state of every client. It keeps no secret, only
// the hash states made from it. An empty secret or an identifier that occurs
// twice is an error.
func NewKeyTable(clients []Key) (*KeyTable, error) {
	t := &KeyTable{
		number: tables.Add(1),
		index:  make(map[wire.Identifier]uint32, len(clients)),
		rows:   make([]row, len(clients)),

		previous: map[uint32]previousKey{},
	}
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		return nil, fmt.Errorf("key table: %w", err)
	}
	for i, c := range clients {
		if !c.Identifier.Valid() {
			return nil, fmt.Errorf("key table: row %d: the identifier is not printable ASCII", i)
		}
		if len(c.Secret) == 0 {
			return nil, fmt.Errorf("key table: client %s: the secret is empty", c.Identifier)
		}
		if _, ok := t.index[c.Identifier]; ok {
			return nil, fmt.Errorf("key table: client %s: occurs twice", c.Identifier)
		}
		key, err := newMACKey(c.Secret, &template)
		if err != nil {
			return nil, fmt.Errorf("key table: client %s: %w", c.Identifier, err)
		}
		t.index[c.Identifier] = uint32(i)
		t.rows[i].key = key
		if len(c.Previous) > 0 {
			key, err := newMACKey(c.Previous, &template)
			if err != nil {
				return nil, fmt.Errorf("key table: client %s: previous secret: %w", c.Identifier, err)
			}
			t.previous[uint32(i)] = previousKey{key, c.Until.Unix()}
		}
	}
	return t, nil
}

// Len returns the number of clients.
func (t *KeyTable) Len() int { return len(t.rows) }

// Number tells tables of a process apart: one that was made later has a larger
// number. A Knock carries that of the table that has authenticated it.
func (t *KeyTable) Number() uint32 { return t.number }

// Secrets are those of a client of a table, in a form that only compares.
type Secrets struct {
	key      macKey
	previous previousKey
}

// Secrets returns those of a client; false: there is no such client.
func (t *KeyTable) Secrets(id wire.Identifier) (s Secrets, ok bool) {
	row, ok := t.index[id]
	if ok {
		s = Secrets{t.rows[row].key, t.previous[row]}
	}
	return s, ok
}

// Withdraws reports whether one of the secrets that a client had, and that was
// good at now, is not good in this table. Whoever holds that secret is a client
// no more, although the identifier may be one's.
func (t *KeyTable) Withdraws(had Secrets, id wire.Identifier, now time.Time) bool {
	has, ok := t.Secrets(id)
	good := func(k macKey) bool {
		return ok && (k == has.key || now.Unix() < has.previous.until && k == has.previous.key)
	}
	return !good(had.key) || now.Unix() < had.previous.until && !good(had.previous.key)
}

// Floor returns a client's, which lives as long as the table; nil if there is
// no such client.
func (t *KeyTable) Floor(id wire.Identifier) *Floor {
	row, ok := t.index[id]
	if !ok {
		return nil
	}
	return &t.rows[row].floor
}

// Identifiers returns those of all clients, in no order.
func (t *KeyTable) Identifiers() iter.Seq[wire.Identifier] { return maps.Keys(t.index) }

// find returns the row of a client.
func (t *KeyTable) find(id wire.Identifier) (row uint32, ok bool) {
	row, ok = t.index[id]
	return row, ok
}

// verifies reports whether mac is the client's: under its secret or, for a
// time after a rotation, under the one before.
func (t *KeyTable) verifies(s *macState, row uint32, signed, mac []byte, now int64) bool {
	if s.verify(&t.rows[row].key, signed, mac) {
		return true
	}
	if len(t.previous) == 0 {
		return false
	}
	p, ok := t.previous[row]
	return ok && now < p.until && s.verify(&p.key, signed, mac)
}
