// Package tunnel connects to a service through the web server that has carried an
// exchange: by a WebSocket that proves itself by the ticket of the exchange.
// verify/challenge/CARRIERS.md, "The way in", is the specification.
//
//	client.Exchange -> Dialer.DialService   the same proxy and certificates as the exchange
//	  -> Stream                             the bytes of a connection to the service
//
// It is apart from package client, which does not need a library of WebSockets. It builds
// on every platform. A Dialer is safe for concurrent use.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/coder/websocket"

	"sallyport/sessions/client"
	"sallyport/sessions/client/carriers"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/tunnel"
)

// Dialer implements client.Tunnel.
type Dialer struct{}

var _ client.Tunnel = Dialer{}

// RefusedError means that the web server, or something before it, did not open a tunnel.
type RefusedError struct {
	URL    string // of the server
	Status int    // of the answer; 0: there was none
	err    error
}

func (e *RefusedError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("%s opened no tunnel: %s", e.URL, carriers.Line(e.err))
	}
	return fmt.Sprintf("%s opened no tunnel: expected the status 101, got %d", e.URL, e.Status)
}

// Unwrap returns the error of the connection; nil: there was an answer.
func (e *RefusedError) Unwrap() error {
	if e.Status != 0 {
		return nil
	}
	return e.err
}

// Hint returns what to do.
func (e *RefusedError) Hint() string {
	if e.Status == 0 {
		return ""
	}
	return "the exchange was perhaps not accepted, or a proxy between here and the server does not pass WebSockets: try again, or another network"
}

// DialService implements client.Tunnel. The context ends the attempt, not the Stream.
func (Dialer) DialService(ctx context.Context, way *carriers.HTTP, x carrier.Exchange, ticket [carrier.TicketSize]byte) (client.Stream, error) {
	m, err := carrier.NewTicket(x, ticket)
	if err != nil {
		return nil, err
	}
	u := *way.URL()
	site := u.Scheme + "://" + u.Host
	u.Path, u.RawPath = string(m.AppendPath(nil, 0, m.Numbers())), ""
	ws, answer, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: way.Client(),
		// As browsers send them.
		HTTPHeader: http.Header{"User-Agent": {carriers.Agent}, "Origin": {site}},
	})
	if err != nil {
		refused := &RefusedError{URL: site, err: withoutPath(err)}
		if answer != nil {
			refused.Status = answer.StatusCode
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, refused
	}
	return &Stream{Conn: tunnel.New(ws, address(""), address(u.Host)), way: way}, nil
}

// withoutPath returns the cause of an error of net/http, whose text contains the ticket.
func withoutPath(err error) error {
	if of := (*url.Error)(nil); errors.As(err, &of) {
		return of.Err
	}
	return errors.New("the answer is none of a WebSocket")
}

// address is the address of an end of a Stream.
type address string

func (address) Network() string { return "websocket" }

func (a address) String() string { return string(a) }

// Stream is a connection to a service. A connection of TCP has the same methods, but the
// addresses are names.
type Stream struct {
	*tunnel.Conn
	way   *carriers.HTTP
	reset atomic.Bool
}

var _ client.Stream = (*Stream)(nil)

// SetLinger is as of a net.TCPConn: after 0, Close resets the connection. Other values do
// nothing.
func (s *Stream) SetLinger(seconds int) error {
	s.reset.Store(seconds == 0)
	return nil
}

// SetKeepAliveConfig does nothing: a tunnel always sends keepalives.
func (s *Stream) SetKeepAliveConfig(net.KeepAliveConfig) error { return nil }

// Close implements net.Conn. It waits for a moment until the server has got all.
func (s *Stream) Close() error {
	defer s.way.Close()
	if s.reset.Load() {
		s.Abort()
		return nil
	}
	return s.Conn.Close()
}
