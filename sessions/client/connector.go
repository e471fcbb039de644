package client

import (
	"context"
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
	early   bool // the owner keeps the picked connection: a short proof is enough
	lanes   []*lane
	ctx     context.Context // of the proofs of package preamble

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

func newConnector(ctx context.Context, whole, granted bool) *connector {
	return &connector{
		ctx: ctx, whole: whole, granted: granted, underWay: map[*lane][]*dialling{}, answers: make(chan answer), closed: make(chan struct{}),
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
