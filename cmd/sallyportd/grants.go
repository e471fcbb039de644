package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

const (
	// maxWatchers is how many may watch at a time.
	maxWatchers = 8
	// watchQueue is how many grants wait for a watcher; what it then has no
	// room for, it misses.
	watchQueue = 8192
	// watchDelay is how long after a grant watchers may hear of it.
	watchDelay = 20 * time.Millisecond
)

// opening is a grant that has taken effect, as watchers are told of it.
type opening struct {
	Time    time.Time  `json:"time"`
	Client  string     `json:"client"`
	Address netip.Addr `json:"address"`
	// What the client may open; what of it could not be opened is in the log.
	Services []string `json:"services"`
	// What was asked for, if it was not a sequence of knocks.
	Operation string `json:"operation,omitempty"`
	Missed    uint64 `json:"missed,omitempty"` // how many before it were not told
}

// watched is a gate whose grants can be watched. No watcher delays a grant.
type watched struct {
	sessions.Gate
	services func(wire.Identifier) []string

	mu       sync.Mutex
	watchers map[chan opening]*uint64 // how many each has missed
}

func watch(g sessions.Gate, services func(wire.Identifier) []string) *watched {
	return &watched{Gate: g, services: services, watchers: map[chan opening]*uint64{}}
}

func (w *watched) Open(grants []sessions.Grant) []error {
	errs := w.Gate.Open(grants)
	for i, g := range grants {
		if errs == nil || errs[i] == nil {
			w.tell(g, "", w.services(g.Identifier))
		}
	}
	return errs
}

// tell tells all that watch.
func (w *watched) tell(g sessions.Grant, operation string, services []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watchers) == 0 {
		return
	}
	o := opening{Time: time.Now(), Client: g.Identifier.String(), Address: g.Address, Services: services, Operation: operation}
	for c, missed := range w.watchers {
		o.Missed = *missed
		select {
		case c <- o:
			*missed = 0
		default:
			*missed++
		}
	}
}

// subscribe begins to watch, until cancel.
func (w *watched) subscribe() (grants <-chan opening, cancel func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watchers) == maxWatchers {
		return nil, nil, errors.New("too many watch already")
	}
	c := make(chan opening, watchQueue)
	w.watchers[c] = new(uint64)
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watchers, c)
	}, nil
}

// serveGrants tells of each grant that takes effect, a line of JSON each.
func (w *watched) serveGrants(rw http.ResponseWriter, r *http.Request) {
	grants, cancel, err := w.subscribe()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer cancel()
	stream := http.NewResponseController(rw)
	if err := stream.SetReadDeadline(time.Time{}); err != nil { // it is silent from now on
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.WriteHeader(http.StatusOK)
	if stream.Flush() != nil {
		return
	}
	encoder := json.NewEncoder(rw)
	// Many that come at a time are told of at a time.
	var late <-chan time.Time
	for {
		select {
		case o := <-grants:
			if late == nil {
				late = time.After(watchDelay)
			}
			if stream.SetWriteDeadline(time.Now().Add(adminTimeout)) != nil || encoder.Encode(o) != nil {
				return
			}
		case <-late:
			late = nil
			if stream.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
