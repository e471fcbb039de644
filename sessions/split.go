package sessions

import (
	"math"
	"net/netip"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

// An attempt may be split over servers: each gets some of its knocks, under another key of
// its client, and none can complete it alone (package fleet/split).
//
//	Config.Parts  gets each knock that reaches the slot, with its outcome
//	Complete      an attempt of which other servers have got the other knocks: from here on
//	              it goes the way of each attempt that is complete

// completedQueueSize is the maximum number of split attempts in a shard's queue.
const completedQueueSize = 1024

// Completed is an attempt of which other servers have got some knocks.
type Completed struct {
	Knock   verify.Knock // one of those that have come here
	Address netip.Addr   // as in Grant
	Differ  uint8        // as in Grant
	Other   netip.Addr   // the source of a knock that differs most from Address, for the log
	ISN     wire.ISN
	// Attempt has the secret from which the keys of the servers are made. Its nonces are
	// recorded for this secret. The caller has verified each knock.
	Attempt Attempt
}

// Complete passes a split attempt to the shard that owns its client. It does not block. If
// the shard's queue is full, it drops the attempt and counts it.
func (s *Sessions) Complete(x Completed) {
	sh := s.shards[s.shardOf(x.Knock.Identifier())]
	select {
	case sh.completed <- x:
	default:
		sh.queueFull.Add(1)
	}
}

// Differ returns in how many low bits two addresses differ: more than a Spread can allow if
// they have no prefix in common.
func Differ(a, b netip.Addr) uint8 { return sourceOf(a.Unmap()).differ(sourceOf(b.Unmap())) }

// complete is Complete for a shard.
func (s *shard) complete(x Completed) {
	s.validFor = 0
	s.readClocks(len(s.queue))
	outcome, c := s.decideCompleted(x)
	if outcome != Opened {
		s.counts[outcome].Add(1)
		if denied[outcome] {
			s.deny(x.Knock.Identifier(), x.Address, outcome)
		}
		return
	}
	k, a := &x.Knock, x.Attempt
	var w replay.Window
	for n := range uint32(a.Count) {
		w.Accept(a.Base + n)
	}
	highest, _ := w.Highest()
	s.enqueue(c, pendingGrant{
		taken: s.elapsed,
		grant: Grant{
			Identifier: k.Identifier(), Address: x.Address.Unmap(), Differ: x.Differ, ISN: x.ISN,
			Minute: k.Minute(), PortSecret: k.PortSecret(), Attempt: a,
		},
		entry: Entry{k.Identifier(), a.Secret, highest, w.Ring(), a.Timestamp, a.Base, a.Count},
	})
}

// decideCompleted applies the rules that a knock here must obey when its attempt completes:
// since it came, the client may have left or closed, and the server may have missed knocks.
func (s *shard) decideCompleted(x Completed) (Outcome, *client) {
	k := &x.Knock
	i, ok := s.index[k.Identifier()]
	if !ok {
		return Unknown, nil
	}
	c := &s.clients[i]
	w := c.window(k.Secret())
	from := sourceOf(x.Address.Unmap())
	switch {
	case w == nil || k.Table() < w.table:
		return Unknown, nil
	case s.refuses(k.Timestamp(), w.since) || k.Timestamp() <= w.lostUntil && w.lostUntil > 0:
		return BeforeStart, nil
	case w.slot.closedAfter(x.Attempt.Base):
		return Older, nil
	case x.Differ > from.spread(c.spread):
		s.recorder.otherSources.put(otherSource{k.Identifier(), from, sourceOf(x.Other.Unmap())})
		s.recorder.notify()
		return OtherSource, nil
	case x.Attempt.Count == 0 || uint64(x.Attempt.Base)+uint64(x.Attempt.Count)-1 > math.MaxUint32:
		return Older, nil // no attempt has such nonces
	case !c.bucket.Take(s.now(), s.limit):
		return RateLimited, nil
	}
	return Opened, c
}

// closedAfter reports whether a closing attempt with a higher base is complete.
func (s *slot) closedAfter(base uint32) bool {
	for i := range s.attempts[:s.held] {
		if a := &s.attempts[i]; a.is(closes) && a.count > s.last && a.base > base {
			return true
		}
	}
	return false
}
