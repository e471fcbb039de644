package moved

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/sessions/gate"
	"sallyport/sessions/gate/relay"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	// version is that of the table. A change of its meaning requires another one.
	version = 1
	// prefix begins the name of all versions.
	prefix = "sallyport-connections-"
	// Name is that of all descriptors of a server.
	Name = prefix + "1"
	// maxTable is the size of the longest table that is read, in bytes.
	maxTable = 4 << 20
	// MaxConnections is the most that a server passes on: two descriptors each and one for
	// the table stay below 1024, the usual limit of a process that begins.
	MaxConnections = 500
)

// IsName reports whether a descriptor is of this version of the table, and whether it is of
// any server.
func IsName(name string) (known, ours bool) { return name == Name, strings.HasPrefix(name, prefix) }

// Connection is a connection with the secrets of its owners.
type Connection struct {
	gate.Moved
	// Secrets has the fingerprint of the secret of each owner; zero: it is no client.
	Secrets []verify.Fingerprint
}

// table is the content of the file.
type table struct {
	Version     int   `json:"version"`
	Connections []row `json:"connections"`
}

// row is a connection, without its sockets.
type row struct {
	Service  string  `json:"service"`
	Upstream string  `json:"upstream"`
	Owners   []owner `json:"owners"`
	Proved   bool    `json:"proved"`
	Leased   bool    `json:"leased"`
	Client   uint64  `json:"client"` // the cookies of the sockets
	Server   uint64  `json:"server"`
}

type owner struct {
	Client []byte             `json:"client"`
	Secret verify.Fingerprint `json:"secret"`
}

func rowOf(c Connection, client, server uint64) row {
	r := row{Service: c.Service, Upstream: string(c.Upstream), Proved: c.Proved, Leased: c.Leased, Client: client, Server: server}
	for i, id := range c.Owners {
		r.Owners = append(r.Owners, owner{id[:], c.Secrets[i]})
	}
	return r
}

func (r row) connection() Connection {
	c := Connection{Moved: gate.Moved{Service: r.Service, Upstream: relay.Upstream(r.Upstream), Proved: r.Proved, Leased: r.Leased}}
	for _, o := range r.Owners {
		c.Owners, c.Secrets = append(c.Owners, wire.Identifier(o.Client)), append(c.Secrets, o.Secret)
	}
	return c
}

func encode(rows []row) ([]byte, error) { return json.Marshal(table{version, rows}) }

// decode returns the rows of a table that this version has written: a table with anything
// else is none.
func decode(text []byte) ([]row, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var t table
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("read the table of connections: %w", err)
	}
	if t.Version != version {
		return nil, fmt.Errorf("read the table of connections: expected version %d, got %d", version, t.Version)
	}
	if len(t.Connections) > MaxConnections {
		return nil, fmt.Errorf("read the table of connections: expected at most %d, got %d", MaxConnections, len(t.Connections))
	}
	seen := map[uint64]bool{}
	for _, r := range t.Connections {
		if r.Service == "" || r.Upstream == "" || len(r.Owners) == 0 || r.Client == 0 || r.Server == 0 || r.Client == r.Server || seen[r.Client] || seen[r.Server] {
			return nil, errors.New("read the table of connections: a row is not complete, or is there twice")
		}
		seen[r.Client], seen[r.Server] = true, true
		for _, o := range r.Owners {
			if len(o.Client) != len(wire.Identifier{}) {
				return nil, errors.New("read the table of connections: an identifier has another length")
			}
		}
	}
	return t.Connections, nil
}
