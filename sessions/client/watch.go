package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"sallyport/verify/wire"
)

// Watch is how a client watches a service.
type Watch string

// The ways to watch.
const (
	// WatchDefault is WatchSYN.
	WatchDefault Watch = ""
	// WatchSYN waits for the answer to a SYN, and then resets the connection. The
	// program behind the port does not see it. On systems other than Linux, it is
	// WatchConnection.
	WatchSYN Watch = "syn"
	// WatchConnection makes a whole connection, which must last.
	WatchConnection Watch = "connection"
	// WatchNone does not watch.
	WatchNone Watch = "none"
)

// Valid reports whether w is a way to watch.
func (w Watch) Valid() bool {
	switch w {
	case WatchDefault, WatchSYN, WatchConnection, WatchNone:
		return true
	}
	return false
}

const (
	firstPause = 10 * time.Millisecond // between two attempts to connect; doubles
	lastPause  = 250 * time.Millisecond

	// enoughClosed is how many connections the program behind the service must have
	// closed at once: it does not run, and will not run soon.
	enoughClosed = 3
	// enoughRefused is how long a service must have refused connections, if it dropped
	// them before the knock: the port is open, and nothing listens there.
	enoughRefused = time.Second
)

// watcher watches a service after a knock.
type watcher struct {
	service  netip.AddrPort
	timeout  time.Duration
	halfOpen bool       // do not complete the connections
	isn      wire.ISN   // of the connections; 0: the kernel chooses
	early    *earlyConn // nil: what the service did before the knock is earlier
	earlier  before
}

// before returns what the service did before the knock, as far as it is known.
func (w watcher) before() before {
	if w.early == nil {
		return w.earlier
	}
	return w.early.answer()
}

// sighting is what a watcher saw.
type sighting struct {
	conn   *Conn // with a whole connection, if the service answered
	before before
	err    error      // nil: the service answered
	icmp   icmpErrors // for the knocks
}

// closedByProgram reports whether the service accepted the connection, and then
// closed it in order. A server that is open for another address resets it.
func closedByProgram(err error) bool {
	return errors.Is(err, errClosedAtOnce) && errors.Is(err, io.EOF)
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// wait returns as soon as the service answers, or else with the last error.
func (w watcher) wait(ctx context.Context) (s sighting) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	closed := 0
	var since time.Time // of the first refusal
	// The pause is first: the server also needs time to open.
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case <-ctx.Done():
			if s.err == nil || errors.Is(s.err, context.Canceled) {
				s.before, s.err = w.before(), context.DeadlineExceeded // no answer so far
			}
			return s
		case <-time.After(pause):
		}
		conn, err := probe(ctx, w.service, w.halfOpen, w.isn)
		if err == nil {
			return sighting{conn: conn, before: w.before()}
		}
		// A timeout reveals less than an earlier error. When the service has answered
		// after the knock, its answer to an earlier SYN has arrived too.
		if s.err == nil || !timedOut(err) {
			if s.err == nil || timedOut(s.err) {
				s.before = w.before()
			}
			s.err = err
		}
		switch {
		case closedByProgram(err):
			if closed++; closed == enoughClosed {
				return s
			}
		case refused(err) && since.IsZero():
			since = time.Now()
		case refused(err) && s.before == beforeSilent && time.Since(since) >= enoughRefused:
			return s
		}
	}
}

// settle waits if the service was open before the knock: an answer does not show then
// when the server has opened it for this address.
func (s sighting) settle(ctx context.Context) {
	if s.before != beforeOpen || s.conn != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(minLifetime):
	}
}

// probe connects. It returns the connection if it lasts for minLifetime or the service
// sends data. With half, it does not complete the connection, and returns none.
func probe(ctx context.Context, service netip.AddrPort, half bool, isn wire.ISN) (*Conn, error) {
	half = half && canHalfOpen
	c, err := connect(ctx, service, half, isn)
	if errors.Is(err, syscall.ECONNRESET) {
		// The service accepted the connection: a reset in place of that is a refusal.
		return nil, fmt.Errorf("%w: %w", errClosedAtOnce, err)
	}
	if err != nil {
		return nil, err
	}
	if half {
		c.Close()
		return nil, nil
	}
	conn := &Conn{TCPConn: c}
	if err = conn.SetReadDeadline(time.Now().Add(minLifetime)); err == nil {
		conn.first, conn.greeted, err = awaitGreeting(c)
		if timedOut(err) {
			err = nil
		} else if err != nil {
			err = fmt.Errorf("%w: %w", errClosedAtOnce, err)
		}
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
