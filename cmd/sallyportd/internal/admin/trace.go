package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Trace asks why knocks, or exchanges, are refused. One trace runs at a time.
type Trace struct {
	// Identifier is that of a client, or the ID of an operation.
	Identifier string `json:"identifier"`
	Seconds    int    `json:"seconds"` // after which it ends, 1 to MaxTrace
}

// MaxTrace is how long a trace may run.
const MaxTrace = 10 * time.Minute

// The events of a trace.
const (
	TraceStarted    = "started"    // the first line
	TraceRefused    = "refused"    // a datagram was refused before it was accepted as a knock
	TraceKnock      = "knock"      // an authenticated knock was refused
	TraceIncomplete = "incomplete" // not all knocks of an attempt have arrived
	TraceAttempt    = "attempt"    // an attempt is complete: what became of it
	TraceExchange   = "exchange"   // an exchange of the challenge–response protocol
	TraceEnded      = "ended"      // the last line
)

// TraceLine is a line of a trace. Later versions may add fields, events and reasons.
type TraceLine struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	// Authenticated: only a holder of a secret of the client can have caused the line, or
	// a host that has read what the client sent, and sends it again. Otherwise any host
	// can have.
	Authenticated bool       `json:"authenticated"`
	Reason        string     `json:"reason,omitempty"` // the name of the counter
	Source        netip.Addr `json:"source,omitzero"`
	Knock         int        `json:"knock,omitempty"` // from 1
	Of            int        `json:"of,omitempty"`
	Nonce         *uint32    `json:"nonce,omitempty"`
	Lowest        *uint32    `json:"lowest_nonce,omitempty"`  // that the window accepts
	Highest       *uint32    `json:"highest_nonce,omitempty"` // that is used
	Stamp         *time.Time `json:"stamp,omitempty"`
	ClockOff      *int64     `json:"clock_off_s,omitempty"` // by how many seconds the stamp is ahead of the server's clock
	Operation     string     `json:"operation,omitempty"`
	Services      []string   `json:"services,omitempty"` // that have opened
	Text          string     `json:"text"`
	Hint          string     `json:"hint,omitempty"`
	// LeftOut is how many lines of the same event, reason and authenticity were left out
	// before this one.
	LeftOut uint64 `json:"left_out,omitempty"`
	// Totals, of the last line, are all datagrams, knocks and attempts by event and reason;
	// LeftOut are then all lines that were left out.
	Totals []TraceTotal `json:"totals,omitempty"`
}

// TraceTotal is how often a trace saw something.
type TraceTotal struct {
	Event         string `json:"event"`
	Reason        string `json:"reason"`
	Authenticated bool   `json:"authenticated"`
	Number        uint64 `json:"number"`
}

// serveTrace registers the request for a trace: a line of JSON for each TraceLine. The
// trace ends when the reader goes away.
func (h Handlers) serveTrace(mux *http.ServeMux) {
	mux.HandleFunc("POST /trace", func(w http.ResponseWriter, r *http.Request) {
		var asked Trace
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRestriction)).Decode(&asked); err != nil {
			http.Error(w, "expected as JSON what to trace: "+err.Error(), http.StatusBadRequest)
			return
		}
		io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxRestriction)) // so that the server notices when the reader goes away
		lines, err := h.Trace(r.Context(), asked)
		if err != nil {
			answer(w)(nil, err)
			return
		}
		writeTrace(w, lines)
	})
}

func writeTrace(w http.ResponseWriter, lines <-chan TraceLine) {
	stream, encoder := http.NewResponseController(w), json.NewEncoder(w)
	if stream.SetReadDeadline(time.Time{}) != nil {
		return
	}
	w.WriteHeader(http.StatusOK)
	for l := range lines {
		if stream.SetWriteDeadline(time.Now().Add(Timeout)) != nil || encoder.Encode(l) != nil || stream.Flush() != nil {
			return // the request's context ends, and with it the trace
		}
	}
}

// Trace calls f with each line of a trace, until the trace, ctx or the server ends, or f
// fails.
func (c Conn) Trace(ctx context.Context, asked Trace, f func(TraceLine) error) error {
	text, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	body, err := c.ask(ctx, http.MethodPost, "/trace", strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	defer body.Close()
	lines, ended := bufio.NewScanner(body), false
	lines.Buffer(nil, maxAnswer)
	for !ended && lines.Scan() {
		var l TraceLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			break // truncated
		}
		if err := f(l); err != nil {
			return err
		}
		ended = l.Event == TraceEnded
	}
	switch err := lines.Err(); {
	case ended:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server has stopped, and the trace with it")
	default:
		return fmt.Errorf("read the server's answer: %w", err)
	}
}
