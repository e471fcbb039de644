package holder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
)

// pollPause is the time between two polls for the result of a query.
const pollPause = 50 * time.Millisecond

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
			return refusal(f.err)
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

func (c *Conn) connectedSome(ctx context.Context, changes []access.Change) ([]bool, error) {
	request, err := appendList([]byte{byte(kindQuery)}, changes, c.clock.Boot())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	_, err = c.call(request, 0)
	c.mu.Unlock()
	for err == nil {
		select {
		case <-time.After(pollPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var found []bool
		var over bool
		if found, over, err = c.pollQuery(len(changes)); over {
			return found, err
		}
	}
	return nil, err
}

// pollQuery requests the result of a query of n changes. over is false while
// the query runs.
func (c *Conn) pollQuery(n int) (connected []bool, over bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return nil, true, ErrDead
	}
	b, err := l.call([]byte{byte(kindQueryResult)}, answerTime)
	if err != nil {
		return nil, true, err
	}
	connected, over, err = parseQueryReply(b, n)
	if errors.Is(err, errReply) {
		err = l.fail(err)
	}
	return connected, over, err
}

func parseQueryReply(b []byte, n int) (connected []bool, over bool, err error) {
	switch {
	case len(b) == 1 && answer(b[0]) == answerPending:
		return nil, false, nil
	case len(b) == 1+(n+7)/8 && answer(b[0]) == answerConnected:
		connected = make([]bool, n)
		for i := range connected {
			connected[i] = b[1+i/8]>>(i%8)&1 != 0
		}
		return connected, true, nil
	case len(b) > 0 && answer(b[0]) == answerRefused:
		return nil, true, fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b[1:])
	}
	return nil, true, errReply
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
