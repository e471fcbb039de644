package sessions

import (
	"errors"
	"sync"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// Connections that prove themselves use the nonces and the windows of knocks.
//
//	Check  a claim: is its nonce unused? It uses none, so that a copy of a preamble, which
//	       an attacker sends first, does not use the nonce of the client's connection
//	Use    a connection that has proved itself: its nonce is used from now on, and done
//	       is called when that is durable
//
// The owner of the window answers, and for Use the recorder, with the records of grants:
// connections that come together share one call of the Journal.

const (
	// connQueueSize is the maximum number of connections in a shard's queue.
	connQueueSize = 1024
	// maxPendingConns is how many connections may wait for the journal.
	maxPendingConns = 4096
)

// connArrival is a claim that Check has got, or a connection that Use has got.
type connArrival struct {
	identifier wire.Identifier
	nonce      uint32
	timestamp  uint32
	table      uint32
	secret     verify.Fingerprint
	use        bool
	done       func(Outcome)
}

// Check calls done with Recorded if the nonce of a claim is unused, and the client has
// the secret: the nonce stays unused. Another Outcome means that Use would fail. Check
// does not block. done is called once, perhaps before Check returns, by any goroutine;
// it must return at once.
func (s *Sessions) Check(c *verify.Claim, done func(Outcome)) {
	s.connection(connArrival{c.Identifier(), c.Nonce(), c.Timestamp(), c.Table(), c.Secret(), false, done})
}

// Use uses the nonce of a connection. It calls done with Recorded when the use is in the
// Journal: only then may a byte pass. With another Outcome no byte may pass; the nonce
// counts as used all the same, unless the Outcome is Unknown or QueueFull. Check's rules
// for done apply. After Run has ended, done may not be called.
func (s *Sessions) Use(c verify.Connection, done func(Outcome)) {
	s.connection(connArrival{c.Identifier(), c.Nonce(), c.Timestamp(), c.Table(), c.Secret(), true, done})
}

func (s *Sessions) connection(a connArrival) {
	sh := s.shards[s.shardOf(a.identifier)]
	select {
	case sh.connections <- a:
	default:
		a.done(QueueFull)
	}
}

// connection handles a claim or a connection.
func (s *shard) connection(a connArrival) {
	// The verifier compared the timestamp with the wall clock just now.
	s.validFor = 0
	s.readClocks(len(s.queue))
	outcome, w := s.decideConnection(a)
	if !a.use || outcome != Recorded {
		a.done(outcome)
		return
	}
	highest, _ := w.nonces.Highest()
	s.recorder.proved(pendingConn{Entry{a.identifier, w.secret, highest, w.nonces.Ring(), a.timestamp, a.nonce, 1}, a.done})
}

func (s *shard) decideConnection(a connArrival) (Outcome, *window) {
	i, ok := s.index[a.identifier]
	if !ok {
		return Unknown, nil
	}
	w := s.clients[i].window(a.secret)
	switch {
	case w == nil || a.table < w.table:
		return Unknown, nil // of a former client that had the same identifier, or a former secret
	case a.use && !w.accept(a.nonce), !w.nonces.Unused(a.nonce) && !a.use:
		return Replay, nil
	case s.refuses(a.timestamp, w.since) || a.timestamp <= w.lostUntil && w.lostUntil > 0:
		return BeforeStart, nil
	}
	return Recorded, w
}

// pendingConn is a connection whose entry is not recorded yet.
type pendingConn struct {
	entry Entry
	done  func(Outcome)
}

// connQueue holds the connections that the recorder has not taken yet. The shards put,
// the recorder takes.
type connQueue struct {
	mu             sync.Mutex
	list, previous []pendingConn
}

// proved adds a connection. If too many wait, it is refused.
func (r *recorder) proved(c pendingConn) {
	r.conns.mu.Lock()
	full := len(r.conns.list) == maxPendingConns
	if !full {
		r.conns.list = append(r.conns.list, c)
	}
	r.conns.mu.Unlock()
	if full {
		c.done(QueueFull)
		return
	}
	r.notify()
}

// take removes and returns all connections. The list is valid until the next take.
func (q *connQueue) take() []pendingConn {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.previous) // the functions
	q.previous, q.list = q.list, q.previous[:0]
	return q.previous
}

// finish reports the results of the journal to connections.
func finish(conns []pendingConn, errs []error) {
	for i, c := range conns {
		switch {
		case errs[i] == nil:
			c.done(Recorded)
		case errors.Is(errs[i], ErrUsed):
			c.done(UsedElsewhere)
		default:
			c.done(Unrecorded)
		}
	}
}
