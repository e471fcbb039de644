package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"sallyport/sessions/fleet/relay"
)

// Relay returns what the server knows of the gateways to which it relays packets of
// exchanges; nil: its configuration has no relay.
func (c Conn) Relay(ctx context.Context) (all []relay.Reach, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/relay", nil, maxAnswer, &all)
	return all, err
}

func (h Handlers) serveRelay(mux *http.ServeMux) {
	mux.HandleFunc("GET /relay", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Relay())
	})
}
