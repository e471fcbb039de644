package verify

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"slices"
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
	// Expires is the time from which the client is refused, in whole seconds. Zero: it
	// does not expire.
	Expires time.Time
}

// KeyTable finds a client's key by its identifier. It is immutable, except for
// the floors, and safe for concurrent use.
type KeyTable struct {
	number uint32
	index  map[wire.Identifier]uint32 // -> rows
	rows   []row
	// previous is by row. Few clients have a previous key, so it is not in row.
	previous map[uint32]*previousKey
	// expiries are the times at which clients expire, ascending.
	expiries []uint32
}

// lastTable is the number of the last table that this process has made.
var lastTable atomic.Uint32

// row holds the data of a client that a check requires.
type row struct {
	key         macKey
	fingerprint Fingerprint
	floor       Floor
	expires     uint32        // Unix seconds; 0: never
	leased      atomic.Uint32 // not 0: the client has a lease, so that it may close
}

type previousKey struct {
	row
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

		previous: map[uint32]*previousKey{},
	}
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		return nil, fmt.Errorf("key table: %w", err)
	}
	scratch := newMACState()
	for i := range keys {
		k := &keys[i]
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
		t.rows[i].key, t.rows[i].fingerprint = key, scratch.fingerprint(&key)
		if t.rows[i].expires = expiryOf(k.Expires); t.rows[i].expires > 0 {
			t.expiries = append(t.expiries, t.rows[i].expires)
		}
		if len(k.Previous) > 0 {
			old, err := newMACKey(k.Previous, &template)
			if err != nil {
				return nil, fmt.Errorf("key table: client %s: previous secret: %w", k.Identifier, err)
			}
			// One secret must not have two windows.
			if old != key {
				p := &previousKey{until: k.Until.Unix()}
				p.key, p.fingerprint = old, scratch.fingerprint(&old)
				t.previous[uint32(i)] = p
			}
		}
	}
	slices.Sort(t.expiries)
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
	previous macKey
	until    int64 // of the previous one, in Unix seconds
}

// Secrets returns the secrets of a client, and false if there is no such client.
func (t *KeyTable) Secrets(id wire.Identifier) (s Secrets, ok bool) {
	row, ok := t.index[id]
	if ok {
		s.key = t.rows[row].key
		if old := t.previous[row]; old != nil {
			s.previous, s.until = old.key, old.until
		}
	}
	return s, ok
}

// Withdraws reports whether a secret of old that was valid at now is not valid
// in this table. A device that holds such a secret is no longer a client, even
// if the table still has the identifier.
func (t *KeyTable) Withdraws(old Secrets, id wire.Identifier, now time.Time) bool {
	current, ok := t.Secrets(id)
	valid := func(k macKey) bool {
		return ok && (k == current.key || now.Unix() < current.until && k == current.previous)
	}
	return !valid(old.key) || now.Unix() < old.until && !valid(old.previous)
}

// Secret is what the owner of a secret's window requires of it.
type Secret struct {
	Fingerprint Fingerprint
	Floor       *Floor // lives as long as the table
}

// Windows returns the secrets of a client, each of which has its window: the current
// one, and the one before a rotation, also when it has expired, since the clock may
// be set back. It returns zero values for secrets that do not exist.
func (t *KeyTable) Windows(id wire.Identifier) (current, previous Secret) {
	i, ok := t.index[id]
	if !ok {
		return current, previous
	}
	return t.windows(i)
}

// AllWindows returns what Windows returns for each client, in no order.
func (t *KeyTable) AllWindows() iter.Seq2[wire.Identifier, [2]Secret] {
	return func(yield func(wire.Identifier, [2]Secret) bool) {
		for id, i := range t.index {
			current, previous := t.windows(i)
			if !yield(id, [2]Secret{current, previous}) {
				return
			}
		}
	}
}

func (t *KeyTable) windows(i uint32) (current, previous Secret) {
	current = Secret{t.rows[i].fingerprint, &t.rows[i].floor}
	if len(t.previous) == 0 {
		return current, previous
	}
	if old := t.previous[i]; old != nil {
		previous = Secret{old.fingerprint, &old.floor}
	}
	return current, previous
}

// PreviousUntil returns when the secret before a rotation expires, and false if the
// client has none.
func (t *KeyTable) PreviousUntil(id wire.Identifier) (until time.Time, ok bool) {
	i, found := t.index[id]
	if !found || t.previous[i] == nil {
		return time.Time{}, false
	}
	return time.Unix(t.previous[i].until, 0), true
}

// Accepts reports whether a secret authenticates a client's knocks at now.
func (t *KeyTable) Accepts(id wire.Identifier, secret Fingerprint, now time.Time) bool {
	i, ok := t.index[id]
	if !ok {
		return false
	}
	old := t.previous[i]
	return t.rows[i].fingerprint == secret || old != nil && old.fingerprint == secret && now.Unix() < old.until
}

// Identifiers returns the identifiers of all clients, in no order, with those that have
// expired.
func (t *KeyTable) Identifiers() iter.Seq[wire.Identifier] { return maps.Keys(t.index) }

// find returns the row of a client.
func (t *KeyTable) find(id wire.Identifier) (row uint32, ok bool) {
	row, ok = t.index[id]
	return row, ok
}

// below reports whether a nonce is below the window of every secret of a client.
func (t *KeyTable) below(row, nonce uint32, now int64) bool {
	if nonce >= t.rows[row].floor.lowest.Load() {
		return false
	}
	if len(t.previous) == 0 {
		return true
	}
	old := t.previous[row]
	return old == nil || now >= old.until || nonce < old.floor.lowest.Load()
}

// SetLeased records whether a client has a lease. The verifiers compare the MACs of its
// closing knocks only while it has one, since that costs a further HMAC. It does nothing for an
// identifier that is none of a client. It may be called at any time.
func (t *KeyTable) SetLeased(id wire.Identifier, leased bool) {
	i, ok := t.index[id]
	switch {
	case ok && leased:
		t.rows[i].leased.Store(1)
	case ok:
		t.rows[i].leased.Store(0)
	}
}

// Leased reports whether a client is recorded to have a lease.
func (t *KeyTable) Leased(id wire.Identifier) bool {
	i, ok := t.index[id]
	return ok && t.rows[i].leased.Load() != 0
}

// authenticate returns the key and secret under which mac is correct: the client's
// secret or, until the rotation ends, the previous one. It returns 0 if there is
// none.
func (t *KeyTable) authenticate(s *macState, row uint32, signed, mac []byte, now int64) (*macKey, Fingerprint) {
	if r := &t.rows[row]; s.verify(&r.key, signed, mac) {
		return &r.key, r.fingerprint
	}
	if len(t.previous) == 0 {
		return nil, 0
	}
	if old := t.previous[row]; old != nil && now < old.until && s.verify(&old.key, signed, mac) {
		return &old.key, old.fingerprint
	}
	return nil, 0
}
