package verify

import (
	"fmt"
	"time"

	"sallyport/verify/wire"
)

// Client is one row of the key table.
type Client struct {
	Identifier wire.Identifier
	Secret     []byte // the UTF-8 bytes of the shared secret; not empty
	// Previous is the secret before a rotation, good until Until. Empty: none.
	Previous []byte
	Until    time.Time
}

// Table finds a client's key by its identifier. It is immutable and safe for
// concurrent use.
type Table struct {
	index map[wire.Identifier]uint32
	keys  []macKey
	// Few clients have one, so it takes no room in the others' rows.
	previous map[uint32]previousKey
}

type previousKey struct {
	key   macKey
	until int64 // Unix seconds
}

// NewTable computes the key state of every client. It keeps no secret, only
// the hash states made from it. An empty secret or an identifier that occurs
// twice is an error.
func NewTable(clients []Client) (*Table, error) {
	t := &Table{
		index: make(map[wire.Identifier]uint32, len(clients)),
		keys:  make([]macKey, len(clients)),

		previous: map[uint32]previousKey{},
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
		key, err := newMACKey(c.Secret)
		if err != nil {
			return nil, fmt.Errorf("key table: client %s: %w", c.Identifier, err)
		}
		t.index[c.Identifier] = uint32(i)
		t.keys[i] = key
		if len(c.Previous) > 0 {
			key, err := newMACKey(c.Previous)
			if err != nil {
				return nil, fmt.Errorf("key table: client %s: previous secret: %w", c.Identifier, err)
			}
			t.previous[uint32(i)] = previousKey{key, c.Until.Unix()}
		}
	}
	return t, nil
}

// Len returns the number of clients.
func (t *Table) Len() int { return len(t.keys) }

// find returns the row of a client.
func (t *Table) find(id wire.Identifier) (row uint32, ok bool) {
	row, ok = t.index[id]
	return row, ok
}

// verifies reports whether mac is the client's: under its secret or, for a
// time after a rotation, under the one before.
func (t *Table) verifies(s *macState, row uint32, signed, mac []byte, now int64) bool {
	if s.verify(&t.keys[row], signed, mac) {
		return true
	}
	if len(t.previous) == 0 {
		return false
	}
	p, ok := t.previous[row]
	return ok && now < p.until && s.verify(&p.key, signed, mac)
}
