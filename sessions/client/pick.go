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
	switch {
	case a.prepared:
		return c.prepared(a, now)
	case a.conn != nil:
		return c.proved(a, now)
	}
	all := c.underWay[l]
	i := slices.Index(all, a.dial)
	if i < 0 || l.over {
		a.dial.close()
		return nil
	}
	c.underWay[l] = slices.Delete(all, i, i+1)
	t := c.turnOf(l)
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
	case t.spare != nil:
		a.dial.close()
		return nil
	case t.conn != nil:
		t.spare = &a
		return nil
	case l.prover != nil && t.proof == nil:
		t.spare = &a
		l.hold(now)
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
		c.proveConn(l, conn, now)
		return nil
	}
	// A firewall lets the packets of a host to itself pass.
	local := l.service.Addr().IsLoopback() || a.dial.local == l.service.Addr().WithZone("")
	if conn.granted = c.granted && !local; conn.granted {
		return c.won(l, conn, now)
	}
	c.shared.conn = conn
	l.hold(now)
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

// prepare makes the preamble of the next connection of a lane, in a goroutine.
func (c *connector) prepare(l *lane) {
	t := c.turnOf(l)
	if t.preparing || t.proof != nil {
		return
	}
	t.preparing = true
	c.running.Go(func() {
		proof, err := l.prover.Prepare(c.ctx)
		c.deliver(answer{lane: l, proof: proof, prepared: true, at: time.Now(), err: err})
	})
}

// prepared takes a preamble. A connection that has waited for it is half-open still, or
// another one begins: the server waits for its preamble from then on.
func (c *connector) prepared(a answer, now time.Time) *lane {
	l, t := a.lane, c.turnOf(a.lane)
	t.proof, t.preparing = a.proof, false
	l.release(now, true)
	if a.err != nil && !l.over {
		l.failed(a.err, now)
		l.end(now)
	}
	return c.useSpare(t, now)
}

// proveConn proves a connection by the handshake of package preamble.
func (c *connector) proveConn(l *lane, conn *Conn, now time.Time) {
	t := c.turnOf(l)
	proof := t.proof
	t.conn, t.proof = conn, nil
	l.hold(now)
	c.running.Go(func() {
		err := proof.prove(c.ctx, conn.tcp, c.choose)
		if errors.Is(err, errUnproved) && !timedOut(err) {
			err = fmt.Errorf("%w: %w", errClosedAtOnce, err)
		}
		conn.proved = err == nil
		c.deliver(answer{lane: l, conn: conn, at: time.Now(), err: err})
	})
}

// choose reports whether a connection whose server has proved itself gets the proof.
func (c *connector) choose() bool { return !c.keep || c.chosen.CompareAndSwap(false, true) }

// proved takes the result of a proof.
func (c *connector) proved(a answer, now time.Time) *lane {
	l, t := a.lane, c.turnOf(a.lane)
	t.conn = nil
	l.release(now, false)
	switch {
	case a.err == nil && !l.over:
		if t.spare != nil {
			t.spare.close()
			t.spare = nil
		}
		return c.won(l, a.conn, now)
	case !l.over:
		l.failed(a.err, now)
	}
	a.conn.Close()
	if l.prover != nil && !l.over {
		c.prepare(l)
		if t.spare != nil {
			l.hold(now)
		}
		return nil
	}
	return c.useSpare(t, now)
}

// useSpare completes the connection that has waited for its turn, if it is half-open.
func (c *connector) useSpare(t *turn, now time.Time) *lane {
	spare := t.spare
	t.spare = nil
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
