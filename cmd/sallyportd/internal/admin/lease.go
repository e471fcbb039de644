package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"sallyport/sessions/gate/access"
)

// maxLeases bounds the list of leases that a command reads, in bytes: a lease has
// some hundred.
const maxLeases = 256 << 20

// Lease is a lease for the administrator.
type Lease struct {
	Service   string       `json:"service"`
	Client    string       `json:"client,omitempty"` // empty: of an operation that belongs to no client
	Peer      netip.Prefix `json:"peer"`             // that it admits
	Zone      string       `json:"zone,omitempty"`   // the interface of a link-local address, by its index; "any", with the peer ::/0: it admits any address
	Port      uint16       `json:"port,omitempty"`   // the drawn one, if the port of the service rotates
	Operation string       `json:"operation,omitempty"`
	Since     time.Time    `json:"since"`
	Until     *time.Time   `json:"until"` // null: until it is closed
	// InForce is false if the lease is only recorded: no server runs, or the server
	// has not opened it (again) yet.
	InForce bool `json:"in_force"`
	// Waits is why the running server has not opened it yet; empty: it has, or the
	// lease is only recorded.
	Waits string `json:"waits,omitempty"`
}

// AnyAddress reports whether the lease admits any address, and only connections that prove
// themselves.
func (l Lease) AnyAddress() bool {
	return access.Peer{Prefix: l.Peer, Zone: l.Zone} == access.AnyAddress
}

// Which selects leases. Each field that is set must match. With none, it selects
// all.
type Which struct {
	Service   string       `json:"service,omitempty"`
	Client    string       `json:"client,omitempty"`
	Operation string       `json:"operation,omitempty"`
	Peer      netip.Prefix `json:"peer,omitzero"` // leases that admit one of its addresses
}

// Matches reports whether a lease is selected.
func (w Which) Matches(l Lease) bool {
	return (w.Service == "" || w.Service == l.Service) && (w.Client == "" || w.Client == l.Client) &&
		(w.Operation == "" || w.Operation == l.Operation) && (!w.Peer.IsValid() || w.Peer.Overlaps(l.Peer) || l.AnyAddress())
}

// Closing ends leases.
type Closing struct {
	Which
	Cut bool `json:"cut,omitempty"` // connections end too, whatever the policy of the service is
}

// Closed is the result of a Closing, which is in force.
type Closed struct {
	Leases []Lease `json:"leases"`
	// Unrecorded is why the end of a lease could not be recorded: a restart may open
	// it again. Empty: all are recorded.
	Unrecorded string `json:"unrecorded,omitempty"`
}

// Leases returns all leases of the server.
func (c Conn) Leases(ctx context.Context) (all []Lease, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/leases", nil, maxLeases, &all)
	return all, err
}

// CloseLeases ends leases. When it returns, they are closed.
func (c Conn) CloseLeases(ctx context.Context, asked Closing) (done Closed, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/leases/close", asked, maxLeases, &done)
	return done, err
}

// serveLeases registers the requests about leases.
func (h Handlers) serveLeases(mux *http.ServeMux) {
	mux.HandleFunc("GET /leases", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Leases())
	})
	mux.HandleFunc("POST /leases/close", func(w http.ResponseWriter, r *http.Request) {
		var asked Closing
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRestriction))
		d.DisallowUnknownFields() // a condition that is not understood must not close more
		if err := d.Decode(&asked); err != nil {
			http.Error(w, "expected as JSON which leases to close: "+err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(h.CloseLeases(asked))
	})
}
