package real

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"sallyport/bench/target"
)

// socket is the server's admin socket.
func (s *server) socket() string { return filepath.Join(s.dir, "sallyportd.sock") }

// dropped returns how many packets of exchanges the kernel has dropped since the
// server's start, because the queue of the server's socket was full.
func (s *server) dropped(ctx context.Context) (uint64, error) {
	counters, err := target.Counters(ctx, s.socket())
	if err != nil {
		return 0, err
	}
	const counter = "exchange_kernel"
	n, ok := counters[counter]
	if !ok {
		return 0, fmt.Errorf("the server has no counter %s", counter)
	}
	return n, nil
}

// watch collects the grants until the server stops.
func (s *server) watch(ctx context.Context) (err error) {
	var response *http.Response
	// The server opens the socket a moment after it logs "serving".
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if response, err = target.Get(ctx, s.socket(), "/grants"); err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("watch the server's grants: %w", err)
		}
	}
	go func() {
		defer response.Body.Close()
		decoder := json.NewDecoder(response.Body)
		for {
			var g struct {
				Time    time.Time
				Address netip.Addr
				Missed  uint64
			}
			err := decoder.Decode(&g)
			if err == nil && g.Missed > 0 {
				err = fmt.Errorf("the server has left out %d grants", g.Missed)
			}
			s.mu.Lock()
			if err != nil {
				s.watcher = err
				s.mu.Unlock()
				return
			}
			s.grants[g.Address] = g.Time
			s.mu.Unlock()
		}
	}()
	return nil
}

// granted waits for a grant to an address since a time. It is zero if there is none
// after a while.
func (s *server) granted(a netip.Addr, since time.Time) (at time.Time, err error) {
	const patience = 20 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		at, err = s.grants[a], s.watcher
		s.mu.Unlock()
		switch {
		case err != nil:
			return at, fmt.Errorf("watch the server's grants: %w", err)
		case !at.Before(since):
			return at, nil
		case time.Now().After(end):
			return time.Time{}, nil
		}
	}
}
