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
}

// Restricted is what came of a Restriction: it is in force.
type Restricted struct {
	Clients int `json:"clients"` // how many there are
	// Refused is why the server does not take the clients file; empty: it has.
	Refused string `json:"refused,omitempty"`
	// Less says that the client may open less than the Restriction would leave:
	// to get a right takes a file that the server does not refuse.
	Less bool `json:"less,omitempty"`
	// Unheld says that the firewall has no holder: what the client has open behind
	// it ends when there is one again, and leases in their time at the latest.
	Unheld bool `json:"unheld,omitempty"`
}

// Restrict has the server read the clients file again, and take rights from a
// client whatever comes of that. When it returns nil, the client has no other
// rights, and nothing open that it has no right to, but for Restricted.Unheld.
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
