package client

import (
	"context"
	"slices"
	"sync"
	"time"
)

// connector begins the connections of an attempt, several at a time, and picks the first
// that stands. The others are closed. On Linux all are half-open, and only the picked
// one is completed: the program behind the port sees no other. The caller owns the
// connector and its lanes; a goroutine waits for each connection.
type connector struct {
	whole   bool // complete the picked connection
	granted bool // only granted addresses complete a handshake: it is the proof
	lanes   []*lane

	underWay map[*lane][]*dialling // the oldest first
	proving  *Conn                 // nil: none
	spare    *answer               // waits for the result of proving
	answers  chan answer
	closed   chan struct{}
	running  sync.WaitGroup
}

// answer is the result of one connection, or of its proof.
type answer struct {
	lane *lane
	dial *dialling
	conn *Conn // it has had its time to prove itself
	at   time.Time
	err  error
}

// maxSpare is how long a half-open connection stays so: the kernel then completes it.
const maxSpare = 150 * time.Millisecond

func newConnector(whole, granted bool) *connector {
	return &connector{
		whole: whole, granted: granted, underWay: map[*lane][]*dialling{}, answers: make(chan answer), closed: make(chan struct{}),
	}
}

// step begins the connections that are due, ends the lanes whose time is over, and
// returns when it must be called again. Running: some lanes are not over.
func (c *connector) step(now time.Time) (next time.Time, running bool) {
	for _, l := range c.lanes {
		at, begin := l.due()
		for !l.over && !l.held && begin && !at.After(now) {
			if l.taken != nil && l.taken() {
				l.displaced(now)
				break
			}
			l.begun(now)
			c.dial(l, now)
			at, begin = l.due()
		}
		l.expire(now)
		switch {
		case l.over:
			c.abandon(l)
		case !l.held && (next.IsZero() || at.Before(next)):
			next = at
		}
		running = running || !l.over
	}
	return next, running
}

// dial begins a connection.
func (c *connector) dial(l *lane, now time.Time) {
	d, err := dial(l.service, l.isn)
	if err != nil {
		l.failed(err, now)
		return
	}
	l.local = d.local
	if all := c.underWay[l]; len(all) == maxUnderWay {
		all[0].close()
		c.underWay[l] = all[1:]
	}
	c.underWay[l] = append(c.underWay[l], d)
	c.running.Go(func() {
		err := d.wait()
		c.deliver(answer{lane: l, dial: d, at: time.Now(), err: err})
	})
}

// deliver hands an answer to the owner, unless the connector is closed.
func (c *connector) deliver(a answer) {
	select {
	case c.answers <- a:
	case <-c.closed:
		a.close()
	}
}

func (a answer) close() {
	if a.conn != nil {
		a.conn.Close()
	} else {
		a.dial.close()
	}
}

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
	// A firewall lets the packets of a host to itself pass.
	local := l.service.Addr().IsLoopback() || a.dial.local == l.service.Addr().WithZone("")
	if conn.granted = c.granted && !local; conn.granted {
		return c.won(l, conn, now)
	}
	c.proving, l.held = conn, true
	c.running.Go(func() {
		err := conn.prove(a.at.Sub(a.dial.begun))
		c.deliver(answer{lane: l, conn: conn, at: time.Now(), err: err})
	})
	return nil
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

// abandon closes the connections of a lane that are under way.
func (c *connector) abandon(l *lane) {
	for _, d := range c.underWay[l] {
		d.close()
	}
	delete(c.underWay, l)
}

// close closes all connections but those of lanes that have won, and waits for the
// goroutines.
func (c *connector) close() {
	close(c.closed)
	for _, l := range c.lanes {
		c.abandon(l)
	}
	if c.spare != nil {
		c.spare.close()
	}
	if c.proving != nil {
		c.proving.Close()
	}
	c.running.Wait()
}

// newTimer returns a timer for a time; for the zero time, one that does not matter.
func newTimer(at time.Time) *time.Timer {
	if at.IsZero() {
		at = time.Now().Add(time.Hour)
	}
	return time.NewTimer(time.Until(at))
}

// wait runs a connector with one lane until its service answers, or the lane is over.
func (c *connector) wait(ctx context.Context) sighting {
	defer c.close()
	only := c.lanes[0]
	for {
		next, running := c.step(time.Now())
		if !running {
			return only.sighting
		}
		timer := newTimer(next)
		select {
		case <-ctx.Done():
			only.shorten(time.Now())
			only.held = false
		case <-timer.C:
		case a := <-c.answers:
			c.take(a, time.Now())
		}
		timer.Stop()
	}
}
