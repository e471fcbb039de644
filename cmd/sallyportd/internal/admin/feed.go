package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxWatchers is how many watchers there may be at a time.
	maxWatchers = 8
	// watchQueue is how many grants may wait for a watcher; it misses further ones.
	watchQueue = 8192
	// watchDelay is how long a grant may wait for others before it is sent.
	watchDelay = 20 * time.Millisecond
)

// Grant is a grant that has taken effect, as watchers see it.
type Grant struct {
	Time    time.Time  `json:"time"`
	Client  string     `json:"client"`
	Address netip.Addr `json:"address"` // empty: any, after an exchange without an address
	// Services that the client may open. If one could not be opened, that is in
	// the log.
	Services []string `json:"services"`
	// The operation, if the grant is not for a sequence of knocks.
	Operation string `json:"operation,omitempty"`
	Missed    uint64 `json:"missed,omitempty"` // how many grants this watcher has missed just before
}

// Feed sends grants to all watchers. Its methods may be called concurrently, and
// Publish never waits.
type Feed struct {
	mu       sync.Mutex
	watchers map[chan Grant]*uint64 // how many grants each has missed
}

// Watched reports whether there is a watcher.
func (f *Feed) Watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers) > 0
}

// Publish sends a grant to all watchers.
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

// subscribe adds a watcher, until cancel is called.
func (f *Feed) subscribe() (grants <-chan Grant, cancel func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.watchers) == maxWatchers {
		return nil, nil, fmt.Errorf("too many watchers: expected at most %d", maxWatchers)
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
	if err := stream.SetReadDeadline(time.Time{}); err != nil { // the client sends no further data
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.WriteHeader(http.StatusOK)
	if stream.Flush() != nil {
		return
	}
	encoder := json.NewEncoder(rw)
	// Grants that come together are sent together.
	var due <-chan time.Time
	for {
		select {
		case g := <-grants:
			if due == nil {
				due = time.After(watchDelay)
			}
			if stream.SetWriteDeadline(time.Now().Add(Timeout)) != nil || encoder.Encode(g) != nil {
				return
			}
		case <-due:
			due = nil
			if stream.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
