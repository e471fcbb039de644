package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"sallyport/sessions/syserror"
	"sallyport/verify/challenge/exchange"
)

// Times of the connection that fetches the challenge.
const (
	firstFetchPause = 2 * time.Millisecond // after a connection without the challenge; doubles
	lastFetchPause  = 100 * time.Millisecond
	// fetchTimer is how long the first connection from the port of the SYNs may take: a
	// SYN that arrives before the port is open may be dropped. It triples, up to the round
	// trip of a slow path.
	fetchTimer    = 50 * time.Millisecond
	maxFetchTimer = 3 * time.Second
)

// awaitChallenge fetches the challenge: the port is closed until the server has the
// complete request. It ignores challenges that are not authentic: those of others
// behind the same address come too.
func (s *synConn) awaitChallenge(c *exchange.Initiator, timeout time.Duration, _ io.Reader, found *exchangeFindings) (exchange.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go func() {
		select {
		case <-s.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	pause, timer := firstFetchPause, fetchTimer
	for {
		conn, err := s.connect(ctx, c, timer)
		if err == nil {
			answer, taken := take(ctx, conn, c, found)
			if taken {
				return answer, nil
			}
		} else if timedOut(err) {
			timer = min(3*timer, maxFetchTimer)
		}
		select {
		case <-ctx.Done():
			return exchange.Answer{}, ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, lastFetchPause)
		}
	}
}

// connect connects to the port of challenges, with several connections under way. If the
// client cannot distinguish its challenge from those of others behind the same address, there is
// one connection at a time, from the port of the SYNs: the server offers that port its
// own challenge first.
func (s *synConn) connect(ctx context.Context, c *exchange.Initiator, timer time.Duration) (*net.TCPConn, error) {
	to := netip.AddrPortFrom(s.server, s.answer)
	if c.Authenticates() || s.local.Port() == 0 {
		end, _ := ctx.Deadline()
		conns := newConnector(ctx, true, true)
		conns.lanes = []*lane{newLane(to, time.Now(), time.Until(end), func() before { return beforeUnknown })}
		seen := conns.wait(ctx)
		if seen.err != nil {
			return nil, seen.err
		}
		return seen.conn.tcp, nil
	}
	d := net.Dialer{Timeout: timer, Control: reusePort, LocalAddr: net.TCPAddrFromAddrPort(s.local)}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if syserror.InUse.In(err) || syserror.NotAvailable.In(err) {
		conn, err = (&net.Dialer{Timeout: timer}).DialContext(ctx, "tcp", to.String())
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// take takes the first authentic challenge from a connection. The server then offers that
// one to no later exchange of this address.
func take(ctx context.Context, conn *net.TCPConn, c *exchange.Initiator, found *exchangeFindings) (answer exchange.Answer, taken bool) {
	defer func() {
		if !taken {
			conn.SetLinger(0) // no state remains at either end
			conn.Close()
		}
	}()
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	challenges, _ := readChallenges(conn)
	for i, b := range challenges {
		if answer, err := c.Answer(b); err == nil {
			conn.Write([]byte{byte(i + 1)})
			go closeTaken(conn)
			return answer, true
		}
		found.forged++
	}
	return answer, false
}

// takenTime is how long the server may take to read which challenge was taken.
const takenTime = time.Second

// closeTaken closes a connection when the server has closed it.
func closeTaken(conn *net.TCPConn) {
	defer conn.Close()
	if conn.CloseWrite() == nil && conn.SetDeadline(time.Now().Add(takenTime)) == nil {
		io.Copy(io.Discard, conn)
	}
}

// readChallenges reads the challenges that wait for an address: their number, and then
// the size and the bytes of each.
func readChallenges(r io.Reader) (all [][]byte, err error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	for range n[0] {
		var size [1]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return all, err
		}
		if size[0] == 0 || size[0] > exchange.MaxChallenge {
			return all, fmt.Errorf("expected a challenge of 1 to %d bytes, got %d", exchange.MaxChallenge, size[0])
		}
		b := make([]byte, size[0])
		if _, err := io.ReadFull(r, b); err != nil {
			return all, err
		}
		all = append(all, b)
	}
	return all, nil
}
