package admin

import (
	"context"
	"net/http"
)

// maxRestriction bounds a request to restrict a client, in bytes.
const maxRestriction = 64 << 10

// Restriction takes rights from a client.
type Restriction struct {
	Client   string   `json:"client"`
	Services []string `json:"services"` // that it may still open; none: it is revoked
	// Named means that the clients file could not be changed: the client is
	// revoked although the file names it, until the server reads the file again.
	Named bool `json:"named,omitempty"`
}

// Restricted is the result of a Restriction, which is in force.
type Restricted struct {
	Clients int `json:"clients"` // how many there are
	// Refused is why the server rejects the clients file; empty: it accepts it.
	Refused string `json:"refused,omitempty"`
	// Less means that the client may open less than the Restriction allows: a
	// client gains rights only by a file that the server accepts.
	Less bool `json:"less,omitempty"`
	// Owed means that connections which the kernel forwards may continue: the
	// firewall's holder is gone. The next one cuts them when it begins, unless they
	// end with their lease before.
	Owed bool `json:"owed,omitempty"`
}

// Restrict makes the server read the clients file again, and take rights from a
// client, even if it rejects the file. When it returns nil, the client has no
// other rights, and nothing open without a right to it, except as Restricted.Owed
// reports.
func (c Conn) Restrict(ctx context.Context, r Restriction) (done Restricted, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/restrict", r, maxAnswer, &done)
	return done, err
}
