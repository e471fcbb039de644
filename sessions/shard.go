package sessions

import (
	"context"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/cpu"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

type arrival struct {
	knock  verify.Knock
	source netip.Addr
}

type client struct {
	window replay.Window
	slot   slot
	bucket Bucket
	waits  [2]spot
	table  uint32 // knocks of earlier key tables are not its own
	since  int64  // from when on all its knocks are known, in nanoseconds of the clock that is never set
	floor  *verify.Floor
}

// raiseFloor spares the verifiers what the window would refuse.
func (c *client) raiseFloor() {
	if c.floor != nil {
		c.floor.Raise(c.window.Floor())
	}
}

// update is a new list of a shard's clients, or which of them are gone, or from
// when on all knocks are known, of those that are new or of all.
type update struct {
	clients []Client
	gone    func(wire.Identifier) bool // nil: none of these
	begin   time.Time                  // zero: none
	began   *bool                      // is set with begin, if it matters to a client
	missed  time.Time                  // zero: none
	done    chan struct{}
}

// shard owns the state of some of the clients. Once it runs, only its
// goroutine touches them.
type shard struct {
	index   map[wire.Identifier]uint32
	clients []client
	queue   chan arrival
	updates chan update
	next    *recorder
	waiting *waiting // of next
	limit   Limit
	now     func() time.Time
	threshold
	_      cpu.CacheLinePad // what workers read is not beside what the shard writes
	counts [Outcomes]atomic.Uint64
	_      cpu.CacheLinePad
	full   atomic.Uint64 // as counts[Full], written by the workers
	_      cpu.CacheLinePad
}

func newShard(next *recorder, cfg Config) *shard {
	return &shard{
		queue:   make(chan arrival, queueSize),
		updates: make(chan update),
		next:    next,
		waiting: next.source(),
		limit:   cfg.Limit,
		now:     cfg.Now,

		threshold: newThreshold(cfg),
	}
}

// replace makes room for exactly these clients. Those that were there keep
// their state, unless the new mark is ahead of it.
func (s *shard) replace(list []Client) {
	index := make(map[wire.Identifier]uint32, len(list))
	clients := make([]client, len(list))
	for i, c := range list {
		index[c.Identifier] = uint32(i)
		if c.Used || c.HighestNonce > 0 {
			clients[i].window = replay.Restored(c.HighestNonce)
		}
		table, since := c.Table, s.came(s.index == nil)
		if old, ok := s.index[c.Identifier]; ok {
			before := s.clients[old]
			if !c.Readded {
				table = before.table
				if !c.Rekeyed {
					since = before.since
				}
			}
			if highest, used := before.window.Highest(); used && highest >= c.HighestNonce {
				clients[i] = before
			} else {
				before.slot.retire(&clients[i].window)
				clients[i].bucket, clients[i].waits = before.bucket, before.waits
			}
		}
		clients[i].table, clients[i].since = table, since
		if c.Readded {
			clients[i].slot = slot{}
		}
		clients[i].floor = c.Floor
		clients[i].raiseFloor()
	}
	s.index, s.clients = index, clients
}

// remove makes clients unknown. Their room is free at the next replace.
func (s *shard) remove(gone func(wire.Identifier) bool) {
	maps.DeleteFunc(s.index, func(id wire.Identifier, _ uint32) bool { return gone(id) })
}

func (s *shard) deliver(a arrival) {
	select {
	case s.queue <- a:
	default:
		s.full.Add(1)
	}
}

func (s *shard) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case a := <-s.queue:
			s.handle(a)
		case u := <-s.updates:
			switch {
			case u.gone != nil:
				s.remove(u.gone)
			case !u.begin.IsZero():
				*u.began = s.begin(u.begin) || *u.began
			case !u.missed.IsZero():
				s.missed(u.missed)
			default:
				s.replace(u.clients)
			}
			close(u.done)
		case <-ctx.Done():
		}
	}
}

func (s *shard) handle(a arrival) {
	s.look(len(s.queue))
	outcome, c := s.decide(a)
	if outcome == Opened && !c.bucket.Take(s.now(), s.limit) {
		outcome = RateLimited
	}
	if outcome != Opened {
		s.counts[outcome].Add(1)
		return
	}
	mark, _ := c.window.Highest()
	if s.waiting.put(&c.waits, pending{
		grant: Grant{a.knock.Identifier(), a.source.Unmap()},
		entry: Entry{a.knock.Identifier(), mark, c.window.Ring(), a.knock.Timestamp()},
	}) {
		s.counts[Superseded].Add(1)
	}
	s.next.notify()
}

func (s *shard) decide(a arrival) (Outcome, *client) {
	i, ok := s.index[a.knock.Identifier()]
	if !ok {
		return Unknown, nil
	}
	c := &s.clients[i]
	if a.knock.Table() < c.table {
		return Unknown, nil // another client's, whose identifier this one has
	}
	if !c.window.Accept(a.knock.Nonce()) {
		return Replay, nil
	}
	c.raiseFloor()
	if s.refuses(a.knock.Timestamp(), c.since) {
		return BeforeStart, nil // and its nonce is used: a step of the clock must not make it good
	}
	return c.slot.record(a.knock, a.source.Unmap(), &c.window), c
}
