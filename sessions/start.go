package sessions

import (
	"context"
	"math"
	"time"
)

// Start describes the nonces that may be used without the server knowing it: the
// nonces of knocks that were sent while the server did not run, and nonces that
// were used without a record. PROTOCOL.md of verify/wire has the rule and the
// argument.
type Start struct {
	// Wall is the clock with which timestamps of knocks are compared.
	Wall func() time.Time
	// Fresh: no client of the first list has ever knocked.
	Fresh bool
	// NotBeforeMargin: knocks are refused if they are stamped up to the start
	// plus this margin, because their nonces may be used without a record.
	NotBeforeMargin time.Duration
	// LostUntil: knocks are also refused if they are stamped up to this time,
	// whatever the clock shows. Zero: no such time.
	LostUntil time.Time
}

// Threshold returns the highest timestamp, in Unix seconds, of knocks that are
// refused. Wall and boot are the current time of both clocks. Since is the time
// of the boot clock from which on the server has received all knocks of the
// client. The wall clock may have been set since then, so only the time that has
// passed since then counts.
func Threshold(wall, boot, since time.Time) int64 { return wall.Add(since.Sub(boot)).Unix() }

// The values of a window's since that are not times.
const (
	notYet = math.MaxInt64 // Begin has not been called since the secret was added: all its knocks are refused
	always = math.MinInt64 // the server has received all knocks with the secret
)

// Begin declares that from now on the server receives every knock of every client
// in the list. It counts for clients that are new or readded, and for secrets that
// are new or revived, since the last call: their knocks are accepted if they arrive
// after the call and are stamped after its second (at the first call, after
// NotBeforeMargin more). Begin returns the time of the call by Config.Now, and
// whether there are such clients. It returns an error only when ctx ends.
func (s *Sessions) Begin(ctx context.Context) (since time.Time, began bool, err error) {
	since = s.now()
	err = s.update(ctx, func(int) update { return update{begin: since, began: &began} })
	return since, began, err
}

// Missed declares that the server may have missed knocks until now, for example
// while the host was suspended. As at a start, knocks are refused if they are
// stamped up to the second of the call. Missed returns the time of the call by
// Config.Now. It returns an error only when ctx ends.
func (s *Sessions) Missed(ctx context.Context) (since time.Time, err error) {
	since = s.now()
	return since, s.update(ctx, func(int) update { return update{missed: since} })
}

// threshold decides for a shard which timestamps are too old.
type threshold struct {
	start     *Start // nil: no knock is refused
	boot      func() time.Time
	margin    time.Duration // for the first begin
	lostUntil int64         // Unix seconds
	elapsed   int64         // nanoseconds of the boot clock, at the last reading
	offset    int64         // nanoseconds: the wall clock minus the boot clock
	validFor  int           // the number of arrivals for which both are still valid
}

func newThreshold(cfg Config) threshold {
	t := threshold{start: cfg.Start, boot: cfg.Now, lostUntil: math.MinInt64}
	if t.start == nil {
		return t
	}
	t.margin = t.start.NotBeforeMargin
	if !t.start.LostUntil.IsZero() {
		t.lostUntil = t.start.LostUntil.Unix()
	}
	return t
}

// initialSince returns the since of a secret that is new in a list. first: it is
// the first list.
func (t *threshold) initialSince(first bool) int64 {
	if t.start == nil || first && t.start.Fresh {
		return always
	}
	return notYet
}

// readClocks reads the clocks for the arrival that was taken from the queue, and
// for the arrivals that are left in it. The verifier compared all of them with
// the wall clock before, so this reading sees every step of the clock that made
// the verifier accept one of them. Later arrivals require another reading.
func (t *threshold) readClocks(left int) {
	if t.validFor == 0 {
		t.validFor = left + 1
		t.elapsed = t.boot().UnixNano() // first: a delay here raises the threshold
		if t.start != nil {
			t.offset = t.start.Wall().UnixNano() - t.elapsed
		}
	}
	t.validFor--
}

// refuses is Threshold, without a division.
func (t *threshold) refuses(stamp uint32, since int64) bool {
	switch {
	case int64(stamp) <= t.lostUntil:
		return true
	case since == always:
		return false
	case since == notYet:
		return true
	}
	return int64(stamp)*int64(time.Second) <= t.offset+since
}

// begin is Begin for a shard. It reports whether the shard has such clients.
func (s *shard) begin(since time.Time) (began bool) {
	at := since.Add(s.margin).UnixNano()
	s.margin = 0 // it is for the start only
	for i := range s.clients {
		s.clients[i].windows(func(w *window) {
			if w.since == notYet {
				w.since, began = at, true
			}
		})
	}
	return began
}

// missed is Missed for a shard. It never lowers a threshold.
func (s *shard) missed(until time.Time) {
	for i := range s.clients {
		s.clients[i].windows(func(w *window) {
			if w.since != notYet {
				w.since = max(w.since, until.UnixNano())
			}
		})
	}
}
