package admin

import (
	"context"
	"encoding/json"
	"net/http"
)

// Shield is what the program at the network driver does now.
type Shield struct {
	On bool `json:"on"` // the server reads the program's rings
	// Error is why it is not on.
	Error      string            `json:"error,omitempty"`
	Interfaces []ShieldInterface `json:"interfaces,omitempty"`
}

// ShieldInterface is an interface of the shield.
type ShieldInterface struct {
	Name string `json:"name"`
	// Mode is "native" or "generic"; empty: the program is not attached.
	Mode  string `json:"mode,omitempty"`
	Error string `json:"error,omitempty"` // why it is not
}

// Shield returns what the shield does now; nil: the server's configuration has none.
func (c Conn) Shield(ctx context.Context) (s *Shield, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/shield", nil, maxAnswer, &s)
	return s, err
}

func (h Handlers) serveShield(mux *http.ServeMux) {
	mux.HandleFunc("GET /shield", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Shield())
	})
}
