package admin

import (
	"context"
	"net/http"
)

// Confirmation is the result of Confirm.
type Confirmation struct {
	// Confirmed are the services that are closed for good from now on, or "stealth".
	Confirmed []string `json:"confirmed"`
	// Open are services whose trial is over: anyone reaches them.
	Open []string `json:"open,omitempty"`
}

// Confirm makes the server end the trials that run: their services are closed for good.
// The server refuses it if nothing is on trial, or if it has seen no connection that got
// in by a knock.
func (c Conn) Confirm(ctx context.Context) (done Confirmation, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/confirm", nil, maxAnswer, &done)
	return done, err
}

// serveConfirm registers the request to confirm. A command that ends early must not leave
// the change half done, so ctx is not the request's.
func (h Handlers) serveConfirm(ctx context.Context, mux *http.ServeMux) {
	mux.HandleFunc("POST /confirm", func(w http.ResponseWriter, _ *http.Request) {
		answer(w)(h.Confirm(ctx))
	})
}
