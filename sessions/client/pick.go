package client

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxSpare is how long a half-open connection stays so: the kernel then completes it.
const maxSpare = 150 * time.Millisecond

// take takes an answer. It returns the lane whose service has answered, or nil. With
// whole, the lane then has the connection.
func (c *connector) take(a answer, now time.Time) *lane {
	l := a.lane
	if a.conn != nil {
		return c.proved(a, now)
	}
	all := c.underWay[l]
	i := slices.Index(all, a.dial)
	if i < 0 || l.over {
		a.dial.close()
		return nil
	}
	c.underWay[l] = slices.Delete(all, i, i+1)
	switch {
	case a.err != nil:
		a.dial.close()
		l.failed(dialError(l.service, a.err), now)
		return nil
	case l.taken != nil && l.taken():
		a.dial.close()
		l.displaced(now)
		return nil
	case !c.whole:
		a.dial.close()
		return c.won(l, nil, now)
	case c.proving != nil && c.spare == nil:
		c.spare = &a
		return nil
	case c.proving != nil:
		a.dial.close()
		return nil
	}
	return c.complete(a, now)
}

// complete completes the handshake of a connection, which is then the picked one, or has
// to prove itself.
func (c *connector) complete(a answer, now time.Time) *lane {
	l := a.lane
	tcp, err := a.dial.finish()
	if err != nil {
		l.failed(dialError(l.service, err), now)
		return nil
	}
	conn := newConn(tcp)
	if l.prover != nil {
		c.proveConn(l, conn)
		return nil
	}
	// A firewall lets the packets of a host to itself pass.
	local := l.service.Addr().IsLoopback() || a.dial.local == l.service.Addr().WithZone("")
	if conn.granted = c.granted && !local; conn.granted {
		return c.won(l, conn, now)
	}
	c.proving, l.held = conn, true
	roundTrip := a.at.Sub(a.dial.begun)
	conn.proof = proofTime(roundTrip)
	need := conn.proof
	if c.early {
		need = earlyProofTime(roundTrip)
	}
	c.running.Go(func() {
		err := conn.prove(need)
		c.deliver(answer{lane: l, conn: conn, at: time.Now(), err: err})
	})
	return nil
}

// proveConn proves a connection by the handshake of package preamble.
func (c *connector) proveConn(l *lane, conn *Conn) {
	c.proving, l.held = conn, true
	c.running.Go(func() {
		err := l.prover.Prove(c.ctx, conn.tcp)
		if errors.Is(err, errUnproved) && !timedOut(err) {
			err = fmt.Errorf("%w: %w", errClosedAtOnce, err)
		}
		conn.proved = err == nil
		c.deliver(answer{lane: l, conn: conn, at: time.Now(), err: err})
	})
}

// proved takes the result of a proof.
func (c *connector) proved(a answer, now time.Time) *lane {
	l, spare := a.lane, c.spare
	c.proving, c.spare, l.held = nil, nil, false
	switch {
	case a.err == nil && !l.over:
		if spare != nil {
			spare.close()
		}
		return c.won(l, a.conn, now)
	case !l.over:
		l.failed(a.err, now)
	}
	a.conn.Close()
	switch {
	case spare == nil:
	case spare.lane.over || now.Sub(spare.at) > maxSpare:
		spare.close()
	default:
		return c.complete(*spare, now)
	}
	return nil
}

// won ends a lane whose service has answered.
func (c *connector) won(l *lane, conn *Conn, now time.Time) *lane {
	l.sighting.conn, l.sighting.before, l.err = conn, l.was(), nil
	l.end(now)
	c.abandon(l)
	return l
}
