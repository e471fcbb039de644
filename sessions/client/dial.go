package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"sallyport/sessions/syserror"
)

// dialError is the error of a connection that did not succeed.
func dialError(service netip.AddrPort, err error) error {
	failed := &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(service), Err: err}
	if syserror.Reset.In(err) {
		// The service accepted the connection: a reset in place of that is a refusal.
		return fmt.Errorf("%w: %w", errClosedAtOnce, failed)
	}
	return failed
}

// maxProof is how long a connection may have to prove itself, at most: the kernel sends
// a lost SYN again after a second, and a round trip then seems longer than it is.
const maxProof = time.Second

// proofTime is how long a connection must last that a stranger could have made, too: a
// server that is open for another address accepts the connection, and resets it. The
// reset takes a round trip from the moment in which the client completes the handshake,
// the time in which the server looks at the connection, and the jitter of the path.
func proofTime(roundTrip time.Duration) time.Duration {
	return min(roundTrip+roundTrip/8+2*time.Millisecond, maxProof)
}

// earlyProofTime is how long a connection must last that can change to another one
// after a later reset (steady.go). Its caller waits, so it has no reserve for jitter. On
// a quiet path the reset is there by then, since the measured round trip includes the
// client's own delays. A later reset costs a handshake and another proof, and no data.
func earlyProofTime(roundTrip time.Duration) time.Duration {
	return min(roundTrip+250*time.Microsecond, maxProof)
}

// prove waits until the service sends data, or the connection has lasted for a time.
func (c *Conn) prove(d time.Duration) error {
	err := c.tcp.SetReadDeadline(time.Now().Add(d))
	if err == nil {
		greeted := false
		c.first, greeted, err = awaitGreeting(c.tcp)
		if c.greeted.Store(greeted); timedOut(err) {
			err = nil
		} else if err != nil {
			err = fmt.Errorf("%w: %w", errClosedAtOnce, err)
		}
	}
	if err == nil {
		err = c.tcp.SetReadDeadline(time.Time{})
	}
	return err
}

var errClosedAtOnce = errors.New("the service closed the connection at once")
