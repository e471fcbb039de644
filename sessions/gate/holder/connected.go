package holder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"sallyport/sessions/gate/access"
)

// ConnTracker is a Firewall that knows which peers have connections.
type ConnTracker interface {
	// Connected reports for each change whether its peer has a connection to
	// its service. It may take seconds, and run concurrently with Apply.
	Connected([]access.Change) ([]bool, error)
}

var errQuery = errors.New("no query of connections is possible or in progress")

// queryResult is the result of a query.
type queryResult struct {
	connected []bool
	err       error
}

// beginQuery starts a query of connections, concurrently with other requests:
// reading the kernel's conntrack table can take a second, and grants must not
// wait for that. One query runs at a time.
func (s *session) beginQuery(changes []access.Change) []byte {
	f, ok := s.firewall.(ConnTracker)
	if !ok || s.query != nil {
		return refusal(errQuery)
	}
	found := make(chan queryResult, 1)
	s.query = found
	go func() {
		connected, err := f.Connected(changes)
		found <- queryResult{connected, err}
	}()
	return results(nil)
}

func (s *session) queryReply() []byte {
	if s.query == nil {
		return refusal(errQuery)
	}
	select {
	case f := <-s.query:
		s.query = nil
		if f.err != nil {
			return s.failure(f.err)
		}
		b := append([]byte{byte(answerConnected)}, make([]byte, (len(f.connected)+7)/8)...)
		for i, is := range f.connected {
			if is {
				b[1+i/8] |= 1 << (i % 8)
			}
		}
		return b
	default:
		return []byte{byte(answerPending)}
	}
}

// Connected reports for each change whether its peer has a connection to its
// service, as the holder sees it. Only one goroutine at a time may call it. It
// does not delay grants.
func (c *Conn) Connected(ctx context.Context, changes []access.Change) (connected []bool, err error) {
	for chunk := range slices.Chunk(changes, MaxChanges) {
		of, err := c.connectedSome(ctx, chunk)
		if err != nil {
			return nil, fmt.Errorf("query connections: %w", err)
		}
		connected = append(connected, of...)
	}
	return connected, nil
}

func (c *Conn) connectedSome(ctx context.Context, changes []access.Change) (connected []bool, err error) {
	request, err := appendList([]byte{byte(kindQuery)}, changes, c.clock.Boot())
	if err != nil {
		return nil, err
	}
	err = c.poll(ctx, request, kindQueryResult, func(a answer, b []byte, files []*os.File) bool {
		if a != answerConnected || len(b) != (len(changes)+7)/8 || len(files) > 0 {
			return false
		}
		connected = make([]bool, len(changes))
		for i := range connected {
			connected[i] = b[i/8]>>(i%8)&1 != 0
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return connected, nil
}

// disconnect makes the holder end the connections of the peers of changes,
// soon.
func (c *Conn) disconnect(changes []access.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for chunk := range slices.Chunk(changes, MaxChanges) {
		request, err := appendList([]byte{byte(kindDisconnect)}, chunk, c.clock.Boot())
		if err == nil {
			_, err = c.call(request, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
