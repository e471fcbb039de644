package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxWatchers is how many may watch at a time.
	maxWatchers = 8
	// watchQueue is how many grants wait for a watcher; it misses those for
	// which there is no room.
	watchQueue = 8192
	// watchDelay is how long after a grant watchers may see it.
	watchDelay = 20 * time.Millisecond
)

// Grant is a grant that has taken effect, as watchers see it.
type Grant struct {
	Time    time.Time  `json:"time"`
	Client  string     `json:"client"`
	Address netip.Addr `json:"address"`
	// What the client may open; what of it could not be opened is in the log.
	Services []string `json:"services"`
	// What was asked for, if it was not a sequence of knocks.
	Operation string `json:"operation,omitempty"`
	Missed    uint64 `json:"missed,omitempty"` // how many before it this watcher has missed
}

// Feed hands grants to all that watch. Its methods may be called concurrently,
// and Publish never waits.
type Feed struct {
	mu       sync.Mutex
	watchers map[chan Grant]*uint64 // how many each has missed
}

// Watched reports whether there is a watcher, so that a grant is worth its line.
func (f *Feed) Watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers) > 0
}

// Publish hands a grant to all that watch.
func (f *Feed) Publish(g Grant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c, missed := range f.watchers {
		g.Missed = *missed
		select {
		case c <- g:
			*missed = 0
		default:
			*missed++
		}
	}
}

// subscribe begins to watch, until cancel.
func (f *Feed) subscribe() (grants <-chan Grant, cancel func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.watchers) == maxWatchers {
		return nil, nil, errors.New("too many watch already")
	}
	if f.watchers == nil {
		f.watchers = map[chan Grant]*uint64{}
	}
	c := make(chan Grant, watchQueue)
	f.watchers[c] = new(uint64)
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, c)
	}, nil
}

// ServeHTTP writes a line of JSON for each grant.
func (f *Feed) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	grants, cancel, err := f.subscribe()
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
	// Many that come at a time go out at a time.
	var late <-chan time.Time
	for {
		select {
		case g := <-grants:
			if late == nil {
				late = time.After(watchDelay)
			}
			if stream.SetWriteDeadline(time.Now().Add(timeout)) != nil || encoder.Encode(g) != nil {
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
