package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// TooFar is a client of which the shield has refused knocks because their nonces are
// too far ahead, and that has not used a higher nonce since.
type TooFar struct {
	Client  string    `json:"client"`
	Refused uint64    `json:"refused"` // datagrams
	Last    time.Time `json:"last"`    // when the server last noticed some
}

// Resync asks that the shield accepts any nonce of a client until its next knock.
type Resync struct {
	Client string `json:"client"`
}

// Resynced is the result of a Resync.
type Resynced struct {
	// Shield: there is a shield. Without one, nothing refuses nonces that are far
	// ahead.
	Shield bool `json:"shield"`
}

// Resync makes the shield accept any nonce of a client until its next knock.
func (c Conn) Resync(ctx context.Context, r Resync) (done Resynced, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/resync", r, maxAnswer, &done)
	return done, err
}

// TooFar returns the clients of which the shield refuses knocks because their nonces
// are too far ahead: some hundred at most.
func (c Conn) TooFar(ctx context.Context) (list []TooFar, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/toofar", nil, maxFailing, &list)
	return list, err
}

// serveResync registers the requests about nonces that are too far ahead.
func (h Handlers) serveResync(ctx context.Context, mux *http.ServeMux) {
	mux.HandleFunc("GET /toofar", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.TooFar())
	})
	mux.HandleFunc("POST /resync", func(w http.ResponseWriter, r *http.Request) {
		var asked Resync
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRestriction)).Decode(&asked); err != nil {
			http.Error(w, "expected a client as JSON: "+err.Error(), http.StatusBadRequest)
			return
		}
		answer(w)(h.Resync(ctx, asked))
	})
}
