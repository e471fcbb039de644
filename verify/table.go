package verify

import (
	"fmt"

	"sallyport/verify/wire"
)

// Client is one row of the key table.
type Client struct {
	Identifier wire.Identifier
	Secret     []byte // the UTF-8 bytes of the shared secret; not empty
}

// Table finds a client's key by its identifier. It is immutable and safe for
// concurrent use.
type Table struct {
	index map[wire.Identifier]uint32
	keys  []macKey
}

// NewTable computes the key state of every client. It keeps no secret, only
// the hash states made from it. An empty secret or an identifier that occurs
// twice is an error.
func NewTable(clients []Client) (*Table, error) {
	t := &Table{
		index: make(map[wire.Identifier]uint32, len(clients)),
		keys:  make([]macKey, len(clients)),
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
	}
	return t, nil
}

// Len returns the number of clients.
func (t *Table) Len() int { return len(t.keys) }

func (t *Table) find(id wire.Identifier) (*macKey, bool) {
	i, ok := t.index[id]
	if !ok {
		return nil, false
	}
	return &t.keys[i], true
}
