package selftest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/verify"
)

// Pace is when tests are made. The zero value: never.
type Pace struct {
	First    time.Duration // from the start of Run to the first test
	Interval time.Duration // from the beginning of a test to the next
	// Attempts are when a test sends its attempts, from its beginning. Limit is how long it
	// waits in total until one has opened.
	Attempts []time.Duration
	Limit    time.Duration
}

// Usual is the pace of a server.
func Usual() Pace {
	return Pace{First: 30 * time.Second, Interval: time.Minute, Attempts: []time.Duration{0, 2 * time.Second, 5 * time.Second}, Limit: 10 * time.Second}
}

// Config is what New needs. All fields are required.
type Config struct {
	Pace  Pace
	Clock clock.Clock
	// Sign returns the knocks of one attempt at a time, with nonces from base on.
	Sign func(key verify.Key, now time.Time, base uint32) ([]client.Packet, error)
	// Send sends them. turn is the number of the test: each may have another address.
	Send func(knocks []client.Packet, turn int) error
	Load func() Load
	Log  *slog.Logger
}

// Tester tests the server. Its methods may be called concurrently. A nil Tester does
// nothing, and is alive.
type Tester struct {
	cfg Config
	key verify.Key

	mu       sync.Mutex
	base     uint32 // the lowest nonce of the test in progress
	next     uint32 // nonce
	outcomes [sessions.NumOutcomes]int
	done     chan struct{} // closed: an attempt of this test has opened
	waits    waits
	sent     uint64
	verdicts verdicts
	last     Last
}

// Last is the last test that has ended.
type Last struct {
	Result Result
	Reason string    // empty: it has passed
	At     time.Time // by the wall clock; zero: none has ended
	Took   time.Duration
	Row    int // misses in a row
}

// New returns a tester with a new key.
func New(cfg Config) *Tester {
	// A nonce that follows those of earlier starts, so that the record changes.
	return &Tester{cfg: cfg, key: newKey(), next: uint32(cfg.Clock.Wall().Unix()) & (1<<31 - 1)}
}

// Keys returns the keys of the server's own client.
func (t *Tester) Keys() []verify.Key {
	if t == nil {
		return nil
	}
	return []verify.Key{t.key}
}

// Run tests until ctx ends.
func (t *Tester) Run(ctx context.Context) {
	timer := time.NewTimer(t.cfg.Pace.First)
	defer timer.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(t.cfg.Pace.Interval)
		if !t.test(ctx, turn) {
			return
		}
	}
}

// test makes one test. It returns false if ctx has ended before.
func (t *Tester) test(ctx context.Context, turn int) bool {
	if !pass(ctx, untilQuiet(t.cfg.Clock.Wall())) {
		return false
	}
	e := evidence{before: t.cfg.Load()}
	begin := t.cfg.Clock.Monotonic()
	passed := func() time.Duration { return t.cfg.Clock.Monotonic().Sub(begin) }
	done := t.begin()
	opened := false
	for _, at := range t.cfg.Pace.Attempts {
		if opened = await(ctx, done, at-passed()); opened || ctx.Err() != nil {
			break
		}
		var knocks []client.Packet
		if knocks, e.unsent = t.cfg.Sign(t.key, t.cfg.Clock.Wall(), t.reserve()); e.unsent == nil {
			t.count(len(knocks)) // before they arrive
			e.knocks += len(knocks)
			e.unsent = t.cfg.Send(knocks, turn)
		}
	}
	opened = opened || await(ctx, done, t.cfg.Pace.Limit-passed())
	switch {
	case opened:
		t.end(Passed, "", passed())
	case ctx.Err() != nil:
		return false
	default:
		e.late, e.after, e.outcomes = passed()-t.cfg.Pace.Limit, t.cfg.Load(), t.seen()
		e.slow = t.answersSlowly()
		result, why := judge(e)
		t.end(result, why, passed())
	}
	return true
}

// await waits until done is closed, and returns true; false: the time is over, or ctx has
// ended.
func await(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// pass waits; false: ctx has ended.
func pass(ctx context.Context, d time.Duration) bool {
	await(ctx, nil, d)
	return ctx.Err() == nil
}

// quiet is how far from the turn of a minute a test begins.
const quiet = 2 * time.Second

// untilQuiet returns how long to wait so that a test does not begin near the turn of a
// minute.
func untilQuiet(wall time.Time) time.Duration {
	since := wall.Sub(wall.Truncate(time.Minute))
	switch {
	case since < quiet:
		return quiet - since
	case since > time.Minute-quiet:
		return time.Minute - since + quiet
	}
	return 0
}

// begin begins a test. The channel is closed when one of its attempts has opened.
func (t *Tester) begin() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits.slow = false
	t.base, t.outcomes, t.done = t.next, [sessions.NumOutcomes]int{}, make(chan struct{})
	return t.done
}

// reserve returns the base of the next attempt.
func (t *Tester) reserve() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	base := t.next
	t.next += nonces
	return base
}

// nonces is how many nonces an attempt takes: at least as many as it has knocks, and so
// few that they last for a century.
const nonces = 128

func (t *Tester) count(knocks int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent += uint64(knocks)
}

func (t *Tester) seen() [sessions.NumOutcomes]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.outcomes
}

// Note takes the outcome of a knock: it is Config.Tested of package sessions.
func (t *Tester) Note(o sessions.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes[o]++
}

// opened ends the test of an attempt. One of an earlier test is too late.
func (t *Tester) opened(base uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil || base < t.base {
		return
	}
	close(t.done)
	t.done = nil
}
