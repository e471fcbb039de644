package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// History is what the server has refused and closed in the last hour.
type History struct {
	Now time.Time `json:"now"` // by the server's clock
	// Minutes are the last minutes of the server, the oldest first, at most 60. The last
	// one is not over.
	Minutes []Minute `json:"minutes"`
	// Ended are the leases that have ended since the start, the latest last, at most 256.
	Ended []EndedLease `json:"ended"`
}

// Minute is a minute since the start of the server, whether or not its clock was set.
type Minute struct {
	Begin   time.Time         `json:"begin"`
	Seconds float64           `json:"seconds"` // of the last one, how long it has lasted
	Refused map[string]uint64 `json:"refused"` // by reason, without those that are 0
}

// EndedLease is a lease that was in effect, and has ended.
type EndedLease struct {
	Lease         // until: when it ended
	Reason string `json:"reason"` // in words
}

// LogTail is the end of the server's log.
type LogTail struct {
	Lines []string `json:"lines"` // at most 200, of at most 4 KiB each, the oldest first
}

// Bounds of what a command reads of a history and of the end of a log, in bytes: 60 minutes
// of at most 200 reasons, and 200 lines of which each byte may need six in JSON.
const (
	maxHistory = 1 << 20
	maxLogTail = 8 << 20
)

// History returns what the server has refused and closed in the last hour.
func (c Conn) History(ctx context.Context) (h History, err error) {
	err = earlier(c.askJSON(ctx, http.MethodGet, prefix+"history", nil, maxHistory, &h))
	return h, err
}

// Log returns the last lines of the server's log.
func (c Conn) Log(ctx context.Context) (t LogTail, err error) {
	err = earlier(c.askJSON(ctx, http.MethodGet, prefix+"log", nil, maxLogTail, &t))
	return t, err
}

// Metrics returns the metrics as text of Prometheus.
func (c Conn) Metrics(ctx context.Context) ([]byte, error) {
	body, err := c.ask(ctx, http.MethodGet, prefix+"metrics", nil)
	if err != nil {
		return nil, earlier(err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxStatus+1))
	if err == nil && len(text) > maxStatus {
		err = fmt.Errorf("expected at most %d bytes, got more", maxStatus)
	}
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return text, nil
}

// serveHistory registers the requests about the last hour.
func (h Handlers) serveHistory(mux *http.ServeMux) {
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(h.History()) })
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(LogTail{append([]string{}, h.LogTail()...)})
	})
}
