package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// connector begins the connections of an attempt, several at a time, and picks the first
// that stands. The others are closed. On Linux all are half-open, and only the picked
// one is completed: the program behind the port sees no other. The caller owns the
// connector and its lanes; a goroutine waits for each connection.
//
// Connections that must prove themselves by the handshake of package preamble are all
// completed, one of each lane at a time: a program that is silent does not delay the
// others. The first one whose server has proved itself is picked, and gets the proof: so
// the program behind the port sees no other.
type connector struct {
	whole   bool // complete the picked connection
	granted bool // only granted addresses complete a handshake: it is the proof
	early   bool // the owner keeps the picked connection: a short proof is enough
	keep    bool // the owner keeps the picked connection, and only that
	lanes   []*lane

	ctx    context.Context // of the proofs of package preamble
	cancel context.CancelFunc

	underWay map[*lane][]*dialling // the oldest first
	shared   turn                  // of all lanes without a prover
	turns    map[*lane]*turn       // of the others
	chosen   atomic.Bool           // a connection gets the proof of package preamble, with keep
	answers  chan answer
	closed   chan struct{}
	running  sync.WaitGroup
}

// turn is the place in which one connection at a time proves itself.
type turn struct {
	conn  *Conn   // nil: none
	spare *answer // waits for the result of conn, or for proof

	// Of a lane with a prover:
	proof     *Proof // for the next connection; nil: it is not made
	preparing bool
}

// answer is the result of one connection, of its proof, or of the preparation of one.
type answer struct {
	lane     *lane
	dial     *dialling
	conn     *Conn // it has had its time to prove itself
	proof    *Proof
	prepared bool // there is a proof, or an error
	at       time.Time
	err      error
}

func newConnector(ctx context.Context, whole, granted bool) *connector {
	c := &connector{
		whole: whole, granted: granted, underWay: map[*lane][]*dialling{}, turns: map[*lane]*turn{},
		answers: make(chan answer), closed: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// turnOf returns the turn of a lane.
func (c *connector) turnOf(l *lane) *turn {
	if l.prover == nil {
		return &c.shared
	}
	if c.turns[l] == nil {
		c.turns[l] = &turn{}
	}
	return c.turns[l]
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
	if l.prover != nil && c.whole {
		c.prepare(l) // while the client waits for the network
	}
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
		a.dial.close() // nil if a proof was prepared
	}
}

// abandon closes the connections of a lane that are under way.
func (c *connector) abandon(l *lane) {
	for _, d := range c.underWay[l] {
		d.close()
	}
	delete(c.underWay, l)
}

func (t *turn) close() {
	if t.spare != nil {
		t.spare.close()
	}
	if t.conn != nil {
		t.conn.Close()
	}
}

// close closes all connections but those of lanes that have won, and waits for the
// goroutines.
func (c *connector) close() {
	close(c.closed)
	c.cancel()
	for _, l := range c.lanes {
		c.abandon(l)
	}
	c.shared.close()
	for _, t := range c.turns {
		t.close()
	}
	c.running.Wait()
}
