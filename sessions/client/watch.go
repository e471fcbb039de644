package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	firstPause = 10 * time.Millisecond // between two tries to connect; doubles
	lastPause  = 250 * time.Millisecond
	dialLimit  = time.Second // a lost SYN is sent again after a second anyway

	// settle is how long a connection has to last: a server that is open for
	// another address accepts and resets.
	settle = 100 * time.Millisecond
)

// watch returns nil as soon as the service answers, else the last failure.
func watch(ctx context.Context, service netip.AddrPort, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := probe(ctx, service)
		if err == nil {
			return nil
		}
		// That the time is over says less than what was seen before.
		if last == nil || !timedOut(err) {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(pause):
		}
	}
}

// probe connects, and returns nil if the connection lasts.
func probe(ctx context.Context, service netip.AddrPort) error {
	dialer := net.Dialer{Timeout: dialLimit}
	c, err := dialer.DialContext(ctx, "tcp", service.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(settle)); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errClosedAtOnce, err)
	}
	return nil
}

var errClosedAtOnce = errors.New("the service closed the connection at once")
