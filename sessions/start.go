package sessions

import (
	"context"
	"math"
	"time"
)

// Start says which nonces the server does not know of when it starts: those of
// knocks that came while nobody listened, and those that were used without a
// record. PROTOCOL.md of verify/wire has the rule and the argument.
type Start struct {
	// Wall is the clock by which knocks' timestamps are judged.
	Wall func() time.Time
	// Fresh: no client of the first list has ever knocked.
	Fresh bool
	// Doubt: nonces may have been used without a record whose knocks were
	// stamped up to the start and so much later.
	Doubt time.Duration
	// Lost: likewise up to this stamp, whatever the clock says. Zero: none.
	Lost time.Time
}

// Threshold returns up to which stamp, in Unix seconds, knocks are refused at a
// moment of both clocks, of clients of which all is known since a moment of the
// second clock. The wall clock may be set meanwhile: what counts is how long ago
// that moment was.
func Threshold(wall, boot, since time.Time) int64 { return wall.Add(since.Sub(boot)).Unix() }

// The values of a client's since that are no moment.
const (
	notYet = math.MaxInt64 // Begin has not been called since it came: no knock of it counts
	always = math.MinInt64 // all was known from the beginning
)

// Begin says that from now on the server receives each knock of each client in
// the list. Clients that are new in it since the last call, or anew, or rekeyed,
// get in by what is stamped after the second of the call; knocks of them that came
// before it do not count. It returns the moment by Config.Now, and whether there
// are any such clients, and fails only when ctx ends.
func (s *Sessions) Begin(ctx context.Context) (since time.Time, began bool, err error) {
	since = s.now()
	err = s.update(ctx, func(int) update { return update{begin: since, began: &began} })
	return since, began, err
}

// Missed says that the server may have received nothing for a while, until now: of
// what is stamped up to the second of the call nothing counts any more, as at a
// start. It returns the moment by Config.Now, and fails only when ctx ends.
func (s *Sessions) Missed(ctx context.Context) (since time.Time, err error) {
	since = s.now()
	return since, s.update(ctx, func(int) update { return update{missed: since} })
}

// threshold is a shard's view of the clocks.
type threshold struct {
	start  *Start // nil: nothing is refused
	boot   func() time.Time
	doubt  time.Duration // for the first begin
	lost   int64         // Unix seconds
	offset int64         // nanoseconds: the wall clock less the other one
	good   int           // for how many arrivals
}

func newThreshold(cfg Config) threshold {
	t := threshold{start: cfg.Start, boot: cfg.Now, lost: math.MinInt64}
	if t.start == nil {
		return t
	}
	t.doubt = t.start.Doubt
	if !t.start.Lost.IsZero() {
		t.lost = t.start.Lost.Unix()
	}
	return t
}

// came is the since of a client that is new in a list, which may be the first
// one.
func (t *threshold) came(first bool) int64 {
	if t.start == nil || first && t.start.Fresh {
		return always
	}
	return notYet
}

// look reads the clocks for the arrival that was taken from a queue, and for
// those that are left in it. They were all judged by the wall clock before: so a
// step of it that let one of them pass is seen here. For what comes later the
// clocks have to be read again.
func (t *threshold) look(left int) {
	if t.start == nil {
		return
	}
	if t.good == 0 {
		t.good = left + 1
		boot := t.boot().UnixNano() // first: a delay here raises the threshold
		t.offset = t.start.Wall().UnixNano() - boot
	}
	t.good--
}

// refuses is Threshold, without a division.
func (t *threshold) refuses(stamp uint32, since int64) bool {
	switch {
	case int64(stamp) <= t.lost:
		return true
	case since == always:
		return false
	case since == notYet:
		return true
	}
	return int64(stamp)*int64(time.Second) <= t.offset+since
}

// begin is Begin for a shard, and reports whether it has such clients.
func (s *shard) begin(since time.Time) (began bool) {
	at := since.Add(s.doubt).UnixNano()
	s.doubt = 0 // is about the start only
	for i := range s.clients {
		if c := &s.clients[i]; c.since == notYet {
			c.since, began = at, true
		}
	}
	return began
}

// missed is Missed for a shard. No threshold falls by it.
func (s *shard) missed(until time.Time) {
	for i := range s.clients {
		if c := &s.clients[i]; c.since != notYet {
			c.since = max(c.since, until.UnixNano())
		}
	}
}
