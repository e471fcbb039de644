package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"
)

// Failing are the closing commands of leases that have failed, and are tried again.
type Failing struct {
	All      int              `json:"all"`
	Commands []FailingCommand `json:"commands,omitempty"` // of the earliest leases, at most some hundred
}

// FailingCommand is a closing command that has failed, with the lease that has ended.
type FailingCommand struct {
	Service   string       `json:"service"`
	Client    string       `json:"client,omitempty"` // empty: of an operation that belongs to no client
	Peer      netip.Prefix `json:"peer"`
	Zone      string       `json:"zone,omitempty"`
	Operation string       `json:"operation,omitempty"`
	Since     time.Time    `json:"since"` // when the lease began
	Error     string       `json:"error"` // of the last attempt
	Attempts  int          `json:"attempts"`
	Next      time.Time    `json:"next"` // when the next attempt is
}

// maxFailing bounds what a command reads of failing commands, in bytes.
const maxFailing = 1 << 20

// Failing returns the closing commands that have failed.
func (c Conn) Failing(ctx context.Context) (f Failing, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/failing", nil, maxFailing, &f)
	return f, err
}

// serveFailing registers the request for failing commands.
func (h Handlers) serveFailing(mux *http.ServeMux) {
	mux.HandleFunc("GET /failing", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Failing())
	})
}
