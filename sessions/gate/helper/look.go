package helper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
)

// lookPause is how long the server waits before it asks again what a look has
// found.
const lookPause = 50 * time.Millisecond

// Watching is a Firewall that knows who is connected.
type Watching interface {
	// Connected reports for each change whether something is connected from its
	// peer to its service. It may take seconds, and run beside Apply.
	Connected([]access.Change) ([]bool, error)
}

var errLook = errors.New("there is no look for connections")

// seen is what a look has found.
type seen struct {
	connected []bool
	err       error
}

// beginLook looks for connections beside what the holder does otherwise: to look
// through the kernel's table of connections can take a second, and grants do not
// wait for that. One look goes on at a time.
func (s *session) beginLook(changes []access.Change) []byte {
	f, ok := s.firewall.(Watching)
	if !ok || s.look != nil {
		return refusal(errLook)
	}
	found := make(chan seen, 1)
	s.look = found
	go func() {
		connected, err := f.Connected(changes)
		found <- seen{connected, err}
	}()
	return results(nil)
}

func (s *session) endLook() []byte {
	if s.look == nil {
		return refusal(errLook)
	}
	select {
	case f := <-s.look:
		s.look = nil
		if f.err != nil {
			return refusal(f.err)
		}
		b := append([]byte{byte(answerSeen)}, make([]byte, (len(f.connected)+7)/8)...)
		for i, is := range f.connected {
			if is {
				b[1+i/8] |= 1 << (i % 8)
			}
		}
		return b
	default:
		return []byte{byte(answerLooks)}
	}
}

// Connected reports for each change whether something is connected from its peer
// to its service, as the holder sees it. One goroutine at a time may call it. It
// keeps no grant waiting.
func (c *Conn) Connected(ctx context.Context, changes []access.Change) (connected []bool, err error) {
	for some := range slices.Chunk(changes, MaxChanges) {
		of, err := c.connectedSome(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("look for connections: %w", err)
		}
		connected = append(connected, of...)
	}
	return connected, nil
}

func (c *Conn) connectedSome(ctx context.Context, changes []access.Change) ([]bool, error) {
	request, err := appendList([]byte{byte(kindLook)}, changes, c.clock.Boot())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	_, err = c.ask(request, 0)
	c.mu.Unlock()
	for err == nil {
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var found []bool
		var over bool
		if found, over, err = c.seen(len(changes)); over {
			return found, err
		}
	}
	return nil, err
}

// seen asks what a look at so many changes has found.
func (c *Conn) seen(n int) (connected []bool, over bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return nil, true, ErrDead
	}
	b, err := l.ask([]byte{byte(kindSeen)}, answerTime)
	if err != nil {
		return nil, true, err
	}
	connected, over, err = parseSeen(b, n)
	if errors.Is(err, errReply) {
		err = l.lost(err)
	}
	return connected, over, err
}

func parseSeen(b []byte, n int) (connected []bool, over bool, err error) {
	switch {
	case len(b) == 1 && answer(b[0]) == answerLooks:
		return nil, false, nil
	case len(b) == 1+(n+7)/8 && answer(b[0]) == answerSeen:
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

// disconnect has the holder end the connections of the peers of changes, soon.
func (c *Conn) disconnect(changes []access.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for some := range slices.Chunk(changes, MaxChanges) {
		request, err := appendList([]byte{byte(kindDisconnect)}, some, c.clock.Boot())
		if err == nil {
			_, err = c.ask(request, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
