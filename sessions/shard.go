package sessions

import (
	"context"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/cpu"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// arrival is an authenticated knock and its source address.
type arrival struct {
	knock  verify.Knock
	source netip.Addr
}

// client is the state of one client.
type client struct {
	current  window
	previous *window // of the secret before a rotation; nil: none
	bucket   Bucket
	queued   [2]queuePosition
	spread   Spread
	denials  denials
}

// update is one of: a Remove, a Begin, a Missed, a Resync, a Learn, or else a new list of the
// shard's clients.
type update struct {
	clients []Client
	gone    func(wire.Identifier) bool // nil: not a Remove
	begin   time.Time                  // zero: not a Begin
	began   *bool                      // set to true if begin counts for a client
	missed  time.Time                  // zero: not a Missed
	resync  wire.Identifier            // zero: not a Resync
	found   *bool                      // set to true if the shard has the client of resync
	learned []Entry                    // nil: not a Learn
	done    chan struct{}              // the shard closes it when the update is done
}

// shard owns the state of some of the clients. Once it runs, only its
// goroutine reads or writes that state.
type shard struct {
	index   map[wire.Identifier]uint32
	clients []client
	queue   chan arrival
	updates chan update
	// connections are those that prove themselves: see connection.go.
	connections chan connArrival
	completed   chan Completed // see split.go
	parts       func(verify.Knock, netip.Addr, Outcome)
	recorder    *recorder
	grants      *grantQueue // of the recorder
	limit       Limit
	now         func() time.Time
	threshold
	unknown   denials          // of clients that the shard does not know
	_         cpu.CacheLinePad // the shard writes counts; the workers must not share a cache line with them
	counts    [NumOutcomes]atomic.Uint64
	_         cpu.CacheLinePad
	queueFull atomic.Uint64 // the count of QueueFull, which the workers write
	_         cpu.CacheLinePad
}

func newShard(r *recorder, cfg Config) *shard {
	return &shard{
		queue:       make(chan arrival, queueSize),
		updates:     make(chan update),
		connections: make(chan connArrival, connQueueSize),
		completed:   make(chan Completed, completedQueueSize),
		parts:       cfg.Parts,
		recorder:    r,
		grants:      r.newQueue(),
		limit:       cfg.Limit,
		now:         cfg.Now,

		threshold: newThreshold(cfg),
	}
}

// replace replaces the clients. A secret that stays with its client keeps its
// window, also if a rotation makes it the previous one. If its new HighestNonce is
// higher than that of the window, the window moves there.
func (s *shard) replace(list []Client) {
	index := make(map[wire.Identifier]uint32, len(list))
	clients := make([]client, len(list))
	since := s.initialSince(s.index == nil)
	for i, c := range list {
		index[c.Identifier] = uint32(i)
		var before client
		if old, ok := s.index[c.Identifier]; ok {
			before = s.clients[old]
		}
		next := func(secret Secret) window {
			w := before.window(secret.Fingerprint)
			if w == nil {
				return newWindow(c, secret, since)
			}
			w.update(c, secret, since)
			return *w
		}
		clients[i] = client{current: next(c.Current), bucket: before.bucket, queued: before.queued, spread: c.Spread, denials: before.denials}
		if c.Previous.Fingerprint != 0 {
			w := next(c.Previous)
			clients[i].previous = &w
		}
	}
	s.index, s.clients = index, clients
}

// remove makes clients unknown. The next replace frees their memory.
func (s *shard) remove(gone func(wire.Identifier) bool) {
	maps.DeleteFunc(s.index, func(id wire.Identifier, _ uint32) bool { return gone(id) })
}

func (s *shard) deliver(a arrival) {
	select {
	case s.queue <- a:
	default:
		s.queueFull.Add(1)
	}
}

func (s *shard) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case a := <-s.queue:
			s.handle(a)
		case a := <-s.connections:
			s.connection(a)
		case x := <-s.completed:
			s.complete(x)
		case u := <-s.updates:
			switch {
			case u.gone != nil:
				s.remove(u.gone)
			case !u.begin.IsZero():
				*u.began = s.begin(u.begin) || *u.began
			case !u.missed.IsZero():
				s.missed(u.missed)
			case u.resync != wire.Identifier{}:
				*u.found = s.resync(u.resync) || *u.found
			case u.learned != nil:
				s.learn(u.learned)
			default:
				s.replace(u.clients)
			}
			close(u.done)
		case <-ctx.Done():
		}
	}
}

func (s *shard) handle(a arrival) {
	s.readClocks(len(s.queue))
	outcome, c, w, of := s.decide(a)
	id := a.knock.Identifier()
	if s.parts != nil && !s.recorder.test.has(id) {
		s.parts(a.knock, a.source, outcome)
	}
	if outcome == Opened && !c.bucket.Take(s.now(), s.limit) {
		outcome = RateLimited
	}
	if t := s.recorder.traces(a.knock.Identifier()); t != nil {
		t.Decided(s.explain(a, outcome, of))
	}
	if outcome != Opened {
		if !s.recorder.test.is(id, outcome) {
			s.counts[outcome].Add(1)
			if denied[outcome] {
				s.deny(id, a.source, outcome)
			}
		}
		return
	}
	highest, _ := w.nonces.Highest()
	p := pendingGrant{
		grant: Grant{
			Identifier: a.knock.Identifier(), Address: a.source.Unmap(), ISN: a.knock.ISN(),
			Minute: a.knock.Minute(), PortSecret: of.portSecret, Differ: of.differ,
		},
		entry: Entry{a.knock.Identifier(), w.secret, highest, w.nonces.Ring(), a.knock.Timestamp(), a.knock.Base(), uint8(a.knock.Maximum()) + 1},
	}
	if a.knock.Closes() {
		p.closedFrom, p.empty = p.grant.Address, true
	}
	p.grant.Attempt, p.taken = of.made(&a.knock), s.elapsed
	if p.empty {
		p.closedBy = p.grant.Attempt
	}
	s.enqueue(c, p)
}

// enqueue passes a grant to the recorder.
func (s *shard) enqueue(c *client, p pendingGrant) {
	if n := s.grants.put(&c.queued, p); n > 0 && !s.recorder.test.is(p.grant.Identifier, Superseded) {
		s.counts[Superseded].Add(uint64(n))
		s.recorder.granted(p.grant, Superseded, nil)
	}
	s.recorder.notify()
}

// decide returns the outcome of a knock, and of one that belongs to an attempt also its
// client, window and attempt.
func (s *shard) decide(a arrival) (Outcome, *client, *window, *attempt) {
	i, ok := s.index[a.knock.Identifier()]
	if !ok {
		return Unknown, nil, nil, nil
	}
	c := &s.clients[i]
	w := c.window(a.knock.Secret())
	if w == nil || a.knock.Table() < w.table {
		return Unknown, nil, nil, nil // of a former client that had the same identifier, or a former secret
	}
	if !w.accept(a.knock.Nonce()) {
		return Replay, nil, nil, nil
	}
	if s.refuses(a.knock.Timestamp(), w.since) || a.knock.Timestamp() <= w.lostUntil && w.lostUntil > 0 {
		return BeforeStart, nil, nil, nil // its nonce counts as used: a step of the clock must not make it valid
	}
	from := sourceOf(a.source.Unmap())
	outcome, of := w.slot.record(&a.knock, from, c.spread, milliseconds(s.elapsed/int64(time.Millisecond)), &w.nonces)
	if outcome == OtherSource && !of.is(failed) {
		of.flags |= failed
		s.recorder.otherSources.put(otherSource{a.knock.Identifier(), of.source, from})
		s.recorder.notify()
	}
	return outcome, c, w, of
}
