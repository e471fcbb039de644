package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// maxRestriction bounds a request to restrict a client, in bytes.
const maxRestriction = 64 << 10

// Restriction takes rights from a client.
type Restriction struct {
	Client   string   `json:"client"`
	Services []string `json:"services"` // that it may go on opening; none: it is revoked
	// Named says that the clients file could not be changed: a client that is
	// revoked goes although the file names it, until that is read again.
	Named bool `json:"named,omitempty"`
}

// Restricted is what came of a Restriction: it is in force.
type Restricted struct {
	Clients int `json:"clients"` // how many there are
	// Refused is why the server does not take the clients file; empty: it has.
	Refused string `json:"refused,omitempty"`
	// Less says that the client may open less than the Restriction would leave:
	// to get a right takes a file that the server does not refuse.
	Less bool `json:"less,omitempty"`
	// Owed says that what the kernel lets in may go on: the firewall's holder is
	// gone, and the next one ends it as it begins, or its time does.
	Owed bool `json:"owed,omitempty"`
}

// Restrict has the server read the clients file again, and take rights from a
// client whatever comes of that. When it returns nil, the client has no other
// rights, and nothing open that it has no right to, but for what is owed.
func (c Client) Restrict(ctx context.Context, r Restriction) (done Restricted, err error) {
	asked, err := json.Marshal(r)
	if err != nil {
		return done, err
	}
	body, err := c.ask(ctx, http.MethodPost, "/restrict", bytes.NewReader(asked))
	if err != nil {
		return done, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&done); err != nil {
		return done, fmt.Errorf("read the server's answer: %w", err)
	}
	return done, nil
}
