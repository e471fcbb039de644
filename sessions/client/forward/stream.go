package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/syserror"
)

const (
	// The pause after a failed accept, for example without free descriptors.
	acceptPause = 50 * time.Millisecond

	// patience is how long a plain connection may take before the client knocks, if no
	// connection has succeeded so far. Otherwise it is some round trips.
	patience    = 300 * time.Millisecond
	minPatience = 100 * time.Millisecond
	maxPatience = 3 * time.Second

	// proofTime is added to the round trip, and an eighth of it, in which a plain
	// connection proves itself: the server needs some time for a reset.
	proofTime = 2 * time.Millisecond

	// maxPlain is how many plain connections to a service may fail for one local
	// connection.
	maxPlain = 3
)

// accept accepts the connections of a socket.
func (s *server) accept(ctx context.Context, r *route, l net.Listener) {
	for {
		local, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			if err == nil {
				abort(local)
			}
			return
		}
		if err != nil {
			s.failed(ctx, r, fmt.Errorf("accept a local connection: %w", err))
			sleep(ctx, acceptPause)
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			s.failed(ctx, r, fmt.Errorf("%d connections are open, which is the maximum: further ones must wait", cap(s.slots)))
			select {
			case s.slots <- struct{}{}:
			case <-ctx.Done():
				abort(local)
				return
			}
		}
		s.running.Go(func() {
			defer func() { <-s.slots }()
			s.stream(ctx, r, local)
		})
	}
}

// stream carries a connection. If the service does not open, the local program sees a
// reset: an orderly close would look like the end of a service that has nothing to send.
func (s *server) stream(ctx context.Context, r *route, accepted net.Conn) {
	local, ok := accepted.(Conn)
	if !ok {
		accepted.Close()
		s.failed(ctx, r, fmt.Errorf("expected a TCP or Unix socket, got %T", accepted))
		return
	}
	remote, first, err := s.connect(ctx, r, true)
	if err != nil {
		abort(local)
		return
	}
	if k, ok := remote.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		k.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	}
	err = carry(ctx, local, remote, first)
	var offline *client.OfflineError
	if errors.As(err, &offline) {
		s.failed(ctx, r, err) // the service has ended the connection at once
	}
}

// connect returns a connection to a service, and the data that was read from it already.
// With steady, a plain connection may be replaced in its first moments.
func (s *server) connect(ctx context.Context, r *route, steady bool) (c Conn, first []byte, err error) {
	failures, refused := 0, false
	for ctx.Err() == nil {
		open, ok := s.opener.ready(r)
		if !ok {
			if open, err = s.knock(ctx, r, Request{Keep: true, Refused: refused}); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case open.conn != nil:
			return open.conn, nil, nil
		case r.Each || !open.at.IsValid():
			continue // the knock was for another connection
		}
		begin := time.Now()
		if c, first, err = s.plain(ctx, r, open.at); err == nil {
			if steady && len(first) == 0 && r.Prover == nil {
				limit := maxKept
				if r.Granted {
					limit = 0
				}
				c = newSteady(c, begin, limit, func() (Conn, []byte, error) {
					s.opener.fail(r, open.n)
					return s.connect(ctx, r, false)
				})
			}
			return c, first, nil
		}
		refused = syserror.Refused.In(err)
		if unserved := s.opener.withoutProgram(r); refused && unserved != nil {
			s.failed(ctx, r, unserved)
			return nil, nil, unserved
		}
		s.opener.fail(r, open.n)
		if failures++; failures == maxPlain {
			err = fmt.Errorf("connect to %s after a knock: %w", open.at, err)
			s.failed(ctx, r, err)
			return nil, nil, err
		}
	}
	return nil, nil, ctx.Err()
}

// plain connects without a knock.
func (s *server) plain(ctx context.Context, r *route, at netip.AddrPort) (Conn, []byte, error) {
	s.opener.mu.Lock()
	limit := patienceOf(r.handshake)
	s.opener.mu.Unlock()
	serveCtx := ctx
	var proof *client.Proof
	if r.Prover != nil { // before the connection: the server waits for the preamble from then on
		var err error
		if proof, err = r.Prover.Prepare(ctx); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := time.Now()
	made, err := s.cfg.Dial(ctx, "tcp", at.String())
	if err != nil {
		if ctx.Err() != nil {
			s.handshook(r, limit/2) // the path may be longer: the next one gets more time
		}
		return nil, nil, err
	}
	c, ok := made.(Conn)
	if !ok {
		made.Close()
		return nil, nil, fmt.Errorf("expected a TCP connection, got %T", made)
	}
	took := time.Since(begin)
	var first []byte
	switch {
	case proof != nil: // its own time limit; only the handshake shows the path's
		if err = proof.Prove(serveCtx, c); err != nil {
			c.Close()
			return nil, nil, err
		}
	case !r.Granted:
		if first, err = prove(c, took+took/8+proofTime); err != nil {
			c.Close()
			return nil, nil, err
		}
	}
	s.handshook(r, max(took, 1))
	return c, first, nil
}

// handshook records how long the handshake of a plain connection took, or took at least.
func (s *server) handshook(r *route, took time.Duration) {
	s.opener.mu.Lock()
	defer s.opener.mu.Unlock()
	r.handshake = took
}

// patienceOf returns how long a plain connection may take, after one that took that long.
func patienceOf(handshake time.Duration) time.Duration {
	if handshake == 0 {
		return patience
	}
	return min(max(4*handshake, minPatience), maxPatience)
}

// prove waits until a connection has proved itself: it lasts for a time, or the service
// sends something, which prove returns. A server that is open for another address resets
// it.
func prove(c Conn, d time.Duration) (first []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	var network net.Error
	if n == 0 && err != nil && !errors.Is(err, io.EOF) && !(errors.As(err, &network) && network.Timeout()) {
		return nil, err
	}
	return b[:n], c.SetReadDeadline(time.Time{})
}
