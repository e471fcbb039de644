package admin

import (
	"context"
	"encoding/json"
	"net/http"
)

// Uses is how often an operation with a limit may still be used.
type Uses struct {
	Operation string `json:"operation"`
	Uses      int    `json:"uses"` // its limit
	Left      int    `json:"left"`
	// Unknown: the record was lost, so none is left.
	Unknown bool `json:"unknown,omitempty"`
}

// ResetUses asks that the uses of an operation are counted from zero.
type ResetUses struct {
	Operation string `json:"operation"`
}

// Uses returns how often the operations with a limit may still be used.
func (c Conn) Uses(ctx context.Context) (all []Uses, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/uses", nil, maxAnswer, &all)
	return all, err
}

// ResetUses counts the uses of an operation from zero. When it returns nil, that is on
// stable storage.
func (c Conn) ResetUses(ctx context.Context, r ResetUses) (now Uses, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/uses/reset", r, maxAnswer, &now)
	return now, err
}

// serveUses registers the requests about uses.
func (h Handlers) serveUses(mux *http.ServeMux) {
	mux.HandleFunc("GET /uses", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Uses())
	})
	mux.HandleFunc("POST /uses/reset", func(w http.ResponseWriter, r *http.Request) {
		var asked ResetUses
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRestriction)).Decode(&asked); err != nil {
			http.Error(w, "expected an operation as JSON: "+err.Error(), http.StatusBadRequest)
			return
		}
		answer(w)(h.ResetUses(asked))
	})
}
