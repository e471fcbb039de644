package target

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Get sends a request to the admin socket of a server. The caller must close the body
// of the response.
func Get(ctx context.Context, socket, path string) (*http.Response, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sallyportd"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Transport{DisableKeepAlives: true, DialContext: dial}).RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("get %s from the server: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("get %s from the server: %s", path, response.Status)
	}
	return response, nil
}

// Counters returns all counters of the server at an admin socket.
func Counters(ctx context.Context, socket string) (map[string]uint64, error) {
	response, err := Get(ctx, socket, "/traffic")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var counters map[string]uint64
	if err := json.NewDecoder(response.Body).Decode(&counters); err != nil {
		return nil, fmt.Errorf("read the server's counters: %w", err)
	}
	return counters, nil
}

// Counters returns all counters of the server.
func (s *Server) Counters(ctx context.Context) (map[string]uint64, error) {
	return Counters(ctx, s.socket)
}

// Ask sends a request to the admin socket, and returns how long it took until the whole
// answer was there.
func (s *Server) Ask(ctx context.Context, path string) (time.Duration, error) {
	begin := time.Now()
	response, err := Get(ctx, s.socket, path)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, fmt.Errorf("read the answer to %s: %w", path, err)
	}
	return time.Since(begin), nil
}

// watch collects the grants until the server stops.
func (s *Server) watch(ctx context.Context) error {
	// The server opens the socket a moment after it logs "serving".
	var response *http.Response
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if response, err = Get(ctx, s.socket, "/grants"); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return err
	}
	s.feed = response.Body
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
			s.mu.Lock()
			if err != nil {
				s.watcher = err
				s.mu.Unlock()
				return
			}
			if _, ok := s.opened[g.Address]; !ok {
				s.opened[g.Address] = g.Time
			}
			s.missed += g.Missed
			s.mu.Unlock()
		}
	}()
	return nil
}

// Opened returns the addresses with grants since the last call, and the time of
// the first grant of each. It returns an error if the server left out grants.
func (s *Server) Opened() (map[netip.Addr]time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opened := s.opened
	s.opened = map[netip.Addr]time.Time{}
	if s.missed > 0 {
		return nil, fmt.Errorf("the server has left out %d grants", s.missed)
	}
	if s.watcher != nil {
		return nil, fmt.Errorf("watch the server's grants: %w", s.watcher)
	}
	return opened, nil
}

// Unwatch ends the collection of grants, which costs the server processor time. Opened
// must not be called afterwards.
func (s *Server) Unwatch() { s.feed.Close() }
