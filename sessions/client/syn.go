package client

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// synConn sends the messages of one exchange as SYNs, and fetches the challenge over
// TCP. It requires no privilege: each SYN is the beginning of a connection, which the
// client abandons.
type synConn struct {
	self   netip.Addr // with its zone
	server netip.Addr
	answer uint16         // the port of challenges
	local  netip.AddrPort // the source of all SYNs; port 0: the system chooses one for each
	held   io.Closer      // holds the local port; nil: none is held
	closed chan struct{}
	once   sync.Once
}

func newSYNConn(server netip.Addr, answer uint16) (*synConn, error) {
	_, self, err := sourceAddress(server)
	if err != nil {
		return nil, err
	}
	s := &synConn{self: self, server: server, answer: answer, closed: make(chan struct{})}
	s.local, s.held = holdPort(self)
	return s, nil
}

func (s *synConn) address() netip.Addr               { return s.self.Unmap() }
func (s *synConn) source() netip.Addr                { return s.self.Unmap() }
func (s *synConn) peer(server netip.Addr) netip.Addr { return server }

// Close implements io.Closer. It ends awaitChallenge.
func (s *synConn) Close() error {
	s.once.Do(func() {
		close(s.closed)
		if s.held != nil {
			s.held.Close()
		}
	})
	return nil
}

// sendRequest sends a request.
func (s *synConn) sendRequest(ctx context.Context, c *challenge.Codec, i *exchange.Initiator) error {
	return s.sendMessage(ctx, c, i.Request())
}

// checkAnswered does nothing: only the server's host can send challenges over TCP.
func (s *synConn) checkAnswered(*exchange.Initiator, exchange.Answer, *exchangeFindings) {}

// sendMessage sends a message, encoded in the ports of SYNs.
func (s *synConn) sendMessage(ctx context.Context, c *challenge.Codec, message []byte) error {
	ports, err := c.AppendPorts(nil, message)
	if err != nil {
		return err
	}
	for i, port := range ports {
		if i > 0 && c.Delay() > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(c.Delay()):
			}
		}
		if err := sendSYN(s.local, netip.AddrPortFrom(s.server, port)); err != nil {
			return fmt.Errorf("send to %s: %w", s.server, err)
		}
	}
	return nil
}
