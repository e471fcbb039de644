package real

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"
)

// watch collects the grants until the server stops.
func (s *server) watch(ctx context.Context) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "sallyportd.sock"))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sallyportd/grants", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dial}
	var response *http.Response
	// The server opens the socket a moment after it logs "serving".
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if response, err = transport.RoundTrip(request); err == nil {
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
	const patience = 2 * time.Second
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
