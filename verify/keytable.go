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

// Key is a client's key: its secret, and the one before a rotation.
type Key struct {
	Identifier wire.Identifier
	Secret     []byte // the UTF-8 bytes of the client secret; not empty
	// Previous is the secret before a rotation, valid until Until. Empty: none.
	Previous []byte
	Until    time.Time
}

// KeyTable finds a client's key by its identifier. It is immutable, except for
// the floors, and safe for concurrent use.
type KeyTable struct {
	number uint32
	index  map[wire.Identifier]uint32 // -> rows
	rows   []row
	// previous is by row. Few clients have a previous key, so it is not in row.
	previous map[uint32]previousKey
}

// lastTable is the number of the last table that this process has made.
var lastTable atomic.Uint32

// row holds the data of a client that a check requires.
type row struct {
	key   macKey
	floor Floor
}

// Floor is the lowest nonce that a client can still use. The owner of the
// client's window raises it. The verifiers only read it, and refuse lower
// nonces without an HMAC. The zero value refuses nothing.
type Floor struct{ lowest atomic.Uint32 }

// Raise sets the floor if the new one is higher. Concurrent calls are not
// allowed.
func (f *Floor) Raise(lowest uint32) {
	if lowest > f.lowest.Load() {
		f.lowest.Store(lowest)
	}
}

type previousKey struct {
	key   macKey
	until int64 // Unix seconds
}

// NewKeyTable computes the hash states of every key. The table holds the hash
// states, not the secrets. An empty secret, or an identifier that occurs twice,
// is an error.
func NewKeyTable(keys []Key) (*KeyTable, error) {
	t := &KeyTable{
		number: lastTable.Add(1),
		index:  make(map[wire.Identifier]uint32, len(keys)),
		rows:   make([]row, len(keys)),

		previous: map[uint32]previousKey{},
	}
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		return nil, fmt.Errorf("key table: %w", err)
	}
	for i, k := range keys {
		if !k.Identifier.Valid() {
			return nil, fmt.Errorf("key table: row %d: the identifier is not printable ASCII", i)
		}
		if len(k.Secret) == 0 {
			return nil, fmt.Errorf("key table: client %s: the secret is empty", k.Identifier)
		}
		if _, ok := t.index[k.Identifier]; ok {
			return nil, fmt.Errorf("key table: client %s: occurs twice", k.Identifier)
		}
		key, err := newMACKey(k.Secret, &template)
		if err != nil {
			return nil, fmt.Errorf("key table: client %s: %w", k.Identifier, err)
		}
		t.index[k.Identifier] = uint32(i)
		t.rows[i].key = key
		if len(k.Previous) > 0 {
			key, err := newMACKey(k.Previous, &template)
			if err != nil {
				return nil, fmt.Errorf("key table: client %s: previous secret: %w", k.Identifier, err)
			}
			t.previous[uint32(i)] = previousKey{key, k.Until.Unix()}
		}
	}
	return t, nil
}

// Len returns the number of clients.
func (t *KeyTable) Len() int { return len(t.rows) }

// Number identifies a table within the process: a later table has a larger
// number. A Knock has the number of the table that authenticated it.
func (t *KeyTable) Number() uint32 { return t.number }

// Secrets are the secrets of one client in a table, in a form that can only be
// compared.
type Secrets struct {
	key      macKey
	previous previousKey
}

// Secrets returns the secrets of a client, and false if there is no such client.
func (t *KeyTable) Secrets(id wire.Identifier) (s Secrets, ok bool) {
	row, ok := t.index[id]
	if ok {
		s = Secrets{t.rows[row].key, t.previous[row]}
	}
	return s, ok
}

// Withdraws reports whether a secret of old that was valid at now is not valid
// in this table. A device that holds such a secret is no longer a client, even
// if the table still has the identifier.
func (t *KeyTable) Withdraws(old Secrets, id wire.Identifier, now time.Time) bool {
	current, ok := t.Secrets(id)
	valid := func(k macKey) bool {
		return ok && (k == current.key || now.Unix() < current.previous.until && k == current.previous.key)
	}
	return !valid(old.key) || now.Unix() < old.previous.until && !valid(old.previous.key)
}

// Floor returns the floor of a client, which lives as long as the table. It
// returns nil if there is no such client.
func (t *KeyTable) Floor(id wire.Identifier) *Floor {
	row, ok := t.index[id]
	if !ok {
		return nil
	}
	return &t.rows[row].floor
}

// Identifiers returns the identifiers of all clients, in no order.
func (t *KeyTable) Identifiers() iter.Seq[wire.Identifier] { return maps.Keys(t.index) }

// find returns the row of a client.
func (t *KeyTable) find(id wire.Identifier) (row uint32, ok bool) {
	row, ok = t.index[id]
	return row, ok
}

// verifies reports whether mac is correct under the client's secret or, until
// the rotation ends, under the previous one.
func (t *KeyTable) verifies(s *macState, row uint32, signed, mac []byte, now int64) bool {
	if s.verify(&t.rows[row].key, signed, mac) {
		return true
	}
	if len(t.previous) == 0 {
		return false
	}
	old, ok := t.previous[row]
	return ok && now < old.until && s.verify(&old.key, signed, mac)
}
