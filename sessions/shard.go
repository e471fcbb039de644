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

// arrival is an authenticated knock and its source address.
type arrival struct {
	knock  verify.Knock
	source netip.Addr
}

// client is the state of one client.
type client struct {
	window replay.Window
	slot   slot
	bucket Bucket
	queued [2]queuePosition
	table  uint32 // knocks that an earlier key table authenticated are not this client's
	since  int64  // all knocks since this time have been received: nanoseconds of the boot clock
	floor  *verify.Floor
}

// raiseFloor makes the verifiers refuse, without an HMAC, the nonces that the
// window refuses.
func (c *client) raiseFloor() {
	if c.floor != nil {
		c.floor.Raise(c.window.Floor())
	}
}

// update is one of: a Remove, a Begin, a Missed, or else a new list of the
// shard's clients.
type update struct {
	clients []Client
	gone    func(wire.Identifier) bool // nil: not a Remove
	begin   time.Time                  // zero: not a Begin
	began   *bool                      // set to true if begin counts for a client
	missed  time.Time                  // zero: not a Missed
	done    chan struct{}              // the shard closes it when the update is done
}

// shard owns the state of some of the clients. Once it runs, only its
// goroutine reads or writes that state.
type shard struct {
	index    map[wire.Identifier]uint32
	clients  []client
	queue    chan arrival
	updates  chan update
	recorder *recorder
	grants   *grantQueue // of the recorder
	limit    Limit
	now      func() time.Time
	threshold
	_         cpu.CacheLinePad // the shard writes counts; the workers must not share a cache line with them
	counts    [NumOutcomes]atomic.Uint64
	_         cpu.CacheLinePad
	queueFull atomic.Uint64 // the count of QueueFull, which the workers write
	_         cpu.CacheLinePad
}

func newShard(r *recorder, cfg Config) *shard {
	return &shard{
		queue:    make(chan arrival, queueSize),
		updates:  make(chan update),
		recorder: r,
		grants:   r.newQueue(),
		limit:    cfg.Limit,
		now:      cfg.Now,

		threshold: newThreshold(cfg),
	}
}

// replace replaces the clients. A client that stays keeps its state, unless its
// new HighestNonce is higher than that of its window.
func (s *shard) replace(list []Client) {
	index := make(map[wire.Identifier]uint32, len(list))
	clients := make([]client, len(list))
	for i, c := range list {
		index[c.Identifier] = uint32(i)
		if c.Used || c.HighestNonce > 0 {
			clients[i].window = replay.Restored(c.HighestNonce)
		}
		table, since := c.Table, s.initialSince(s.index == nil)
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
				clients[i].bucket, clients[i].queued = before.bucket, before.queued
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
	s.readClocks(len(s.queue))
	outcome, c := s.decide(a)
	if outcome == Opened && !c.bucket.Take(s.now(), s.limit) {
		outcome = RateLimited
	}
	if outcome != Opened {
		s.counts[outcome].Add(1)
		return
	}
	highest, _ := c.window.Highest()
	superseded := s.grants.put(&c.queued, pendingGrant{
		grant: Grant{a.knock.Identifier(), a.source.Unmap()},
		entry: Entry{a.knock.Identifier(), highest, c.window.Ring(), a.knock.Timestamp()},
	})
	if superseded {
		s.counts[Superseded].Add(1)
	}
	s.recorder.notify()
}

func (s *shard) decide(a arrival) (Outcome, *client) {
	i, ok := s.index[a.knock.Identifier()]
	if !ok {
		return Unknown, nil
	}
	c := &s.clients[i]
	if a.knock.Table() < c.table {
		return Unknown, nil // of a former client that had the same identifier
	}
	if !c.window.Accept(a.knock.Nonce()) {
		return Replay, nil
	}
	c.raiseFloor()
	if s.refuses(a.knock.Timestamp(), c.since) {
		return BeforeStart, nil // its nonce counts as used: a step of the clock must not make it valid
	}
	return c.slot.record(a.knock, a.source.Unmap(), &c.window), c
}
