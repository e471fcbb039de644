package tracing

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/handshakes"
	"sallyport/sessions/handshakes/carried"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// Config is what a trace needs to know of the server.
type Config struct {
	Identifier string
	Wall, Boot func() time.Time // the clocks: that of stamps, and one that is never set
	Tolerance  time.Duration    // how far a stamp may be from the wall clock
	// Services returns what the client's grant has opened, and why it has not opened more.
	Services func(sessions.Grant) (opened []string, others string)
	// Expired returns when the client has expired.
	Expired func() time.Time
	// Synchronised reports whether the server's clock is; empty: it is, or is not known.
	Synchronised func() string
	// NotAllowed returns why an address may not use an operation.
	NotAllowed func(operation string, a netip.Addr) string
}

// queueLength is how many events of a queue may wait. All kinds together may have fewer at
// once, so it fills only if the reader is slow.
const queueLength = int(numKinds) * burst

// Trace is a trace that runs.
type Trace struct {
	cfg Config
	// Events that have a line.
	authentic, others chan event

	mu       sync.Mutex
	budgets  [numKinds]budget
	strange  budget // of all kinds that any host can cause
	attempts attempts
}

// event is a value: nothing is allocated for it.
type event struct {
	kind      kind
	at        time.Time
	leftOut   uint64
	source    netip.Addr
	refused   verify.Explanation
	decided   sessions.Decision
	grant     sessions.Grant
	err       error
	operation string
	part      part
}

// New allocates a trace.
func New(cfg Config) *Trace {
	return &Trace{cfg: cfg, authentic: make(chan event, queueLength), others: make(chan event, queueLength)}
}

// Refused takes a datagram that was refused.
func (t *Trace) Refused(e verify.Explanation, source netip.Addr) {
	k := signed + kind(e.Reason)
	if e.Signed == verify.Unsigned {
		k = forged + kind(e.Reason)
	}
	if leftOut, ok := t.allow(k); ok {
		t.put(event{kind: k, leftOut: leftOut, source: source.Unmap(), refused: e})
	}
}

// Unchecked takes a datagram that was refused, of which a busy server has not checked who
// has signed it.
func (t *Trace) Unchecked(r verify.Reason, source netip.Addr) {
	if leftOut, ok := t.allow(unchecked); ok {
		t.put(event{kind: unchecked, leftOut: leftOut, source: source.Unmap(), refused: verify.Explanation{Reason: r}})
	}
}

// Decided takes an authenticated knock. One that was recorded has no line: its
// attempt has one, when it is complete, or stays incomplete.
func (t *Trace) Decided(d sessions.Decision) {
	t.mu.Lock()
	t.attempts.add(d, t.cfg.Boot())
	t.mu.Unlock()
	if d.Outcome == sessions.Recorded || d.Outcome == sessions.Opened {
		return
	}
	if leftOut, ok := t.allow(decided + kind(d.Outcome)); ok {
		t.put(event{kind: decided + kind(d.Outcome), leftOut: leftOut, source: d.Source, decided: d})
	}
}

// Granted takes an attempt that was complete.
func (t *Trace) Granted(g sessions.Grant, o sessions.Outcome, err error) {
	if leftOut, ok := t.allow(granted + kind(o)); ok {
		t.put(event{kind: granted + kind(o), leftOut: leftOut, source: g.Address, grant: g, err: err})
	}
}

// Exchanged takes what became of an exchange before its response was verified.
func (t *Trace) Exchanged(operation string, o handshakes.Outcome, source netip.Addr) {
	if leftOut, ok := t.allow(exchanged + kind(o)); ok {
		t.put(event{kind: exchanged + kind(o), leftOut: leftOut, source: source, operation: operation})
	}
}

// Carried takes what became of a message over HTTP or DNS, or of its exchange. The operation
// is empty if the message names none.
func (t *Trace) Carried(operation string, e carried.Event, source netip.Addr) {
	if leftOut, ok := t.allow(overCarrier + kind(e)); ok {
		t.put(event{kind: overCarrier + kind(e), leftOut: leftOut, source: source, operation: operation})
	}
}

// Proved takes what became of an exchange whose response is right.
func (t *Trace) Proved(operation string, p Proof, source netip.Addr, err error) {
	if leftOut, ok := t.allow(proved + kind(p)); ok {
		t.put(event{kind: proved + kind(p), leftOut: leftOut, source: source, operation: operation, err: err})
	}
}

// allow counts an event, and reports whether it gets a line; leftOut is then how many of
// its kind before it got none.
func (t *Trace) allow(k kind) (leftOut uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, b := t.cfg.Boot(), &t.budgets[k]
	b.all++
	if !b.take(now, burst, pause) || !k.authenticated() && !t.strange.take(now, forgedBurst, forgedPause) && !b.takeRare(now) {
		b.leftOut++
		b.missing++
		return 0, false
	}
	leftOut, b.leftOut = b.leftOut, 0
	return leftOut, true
}

// put queues an event, or leaves it out if the queue is full, as its reader is too slow.
func (t *Trace) put(e event) {
	queue := t.authentic
	if !e.kind.authenticated() {
		queue = t.others
	}
	e.at = t.cfg.Wall()
	select {
	case queue <- e:
	default:
		t.mu.Lock()
		defer t.mu.Unlock()
		b := &t.budgets[e.kind]
		b.leftOut += e.leftOut + 1
		b.missing++
	}
}

// tick is how often a trace looks for attempts that stay incomplete.
const tick = 250 * time.Millisecond

// Run sends the lines of the trace until ctx ends, or the time is over, and then one with
// the totals. It closes lines. stop is called when the time is over, also while the reader
// is slow, and before the last line: it must end the calls of the other methods.
func (t *Trace) Run(ctx context.Context, started admin.TraceLine, lasts time.Duration, lines chan<- admin.TraceLine, stop func()) {
	defer close(lines)
	send := func(l admin.TraceLine) {
		select {
		case lines <- l:
		case <-ctx.Done():
		}
	}
	over, ticks := make(chan struct{}), time.NewTicker(tick)
	defer ticks.Stop()
	stopOnce := sync.OnceFunc(func() {
		stop()
		close(over)
	})
	defer time.AfterFunc(lasts, stopOnce).Stop()
	send(started)
	for running := true; running; {
		select {
		case e := <-t.authentic:
			send(t.line(e))
			continue
		default:
		}
		select {
		case e := <-t.authentic:
			send(t.line(e))
		case e := <-t.others:
			send(t.line(e))
		case <-ticks.C:
			t.putIncomplete(t.cfg.Boot())
		case <-over:
			running = false
		case <-ctx.Done():
			running = false
		}
	}
	stopOnce()
	t.putIncomplete(t.cfg.Boot().Add(incompleteAfter))
	for waiting := true; waiting && ctx.Err() == nil; {
		select {
		case e := <-t.authentic:
			send(t.line(e))
		case e := <-t.others:
			send(t.line(e))
		default:
			waiting = false
		}
	}
	send(t.ended())
}

// putIncomplete takes the attempts of which no further knock has come for a while.
func (t *Trace) putIncomplete(now time.Time) {
	t.mu.Lock()
	list := t.attempts.overdue(now)
	t.mu.Unlock()
	for _, p := range list {
		if leftOut, ok := t.allow(incomplete); ok {
			t.put(event{kind: incomplete, leftOut: leftOut, source: p.source, part: p})
		}
	}
}

// line is an event in words.
func (t *Trace) line(e event) admin.TraceLine {
	l := admin.TraceLine{Time: e.at, Authenticated: e.kind.authenticated(), Source: e.source, LeftOut: e.leftOut, Operation: e.operation}
	l.Event, l.Reason = e.kind.names()
	switch {
	case e.kind < decided:
		t.explainRefused(&l, e.refused)
	case e.kind < granted:
		t.explainKnock(&l, e.decided)
	case e.kind < incomplete:
		t.explainAttempt(&l, sessions.Outcome(e.kind-granted), e.grant, e.err)
	case e.kind == incomplete:
		explainIncomplete(&l, e.part)
	case e.kind == unchecked:
		explainUnchecked(&l, e.refused.Reason)
	case e.kind < overCarrier:
		t.explainExchange(&l, handshakes.Outcome(e.kind-exchanged))
	case e.kind < proved:
		t.explainCarried(&l, carried.Event(e.kind-overCarrier))
	default:
		explainProof(&l, Proof(e.kind-proved), e.err)
	}
	return t.finish(l)
}

// finish names the client, or the operation, in the commands of a hint.
func (t *Trace) finish(l admin.TraceLine) admin.TraceLine {
	l.Time, l.Hint = l.Time.UTC(), strings.ReplaceAll(l.Hint, "IDENTIFIER", t.cfg.Identifier)
	return l
}

// knockOf fills in what a knock contains.
func knockOf(l *admin.TraceLine, k wire.Knock, wall time.Time) (off time.Duration) {
	l.Knock, l.Of = int(k.Sequence)+1, int(k.Maximum)+1
	l.Nonce = &k.Nonce
	stamp := time.Unix(int64(k.Timestamp), 0).UTC()
	off = stamp.Sub(wall.Truncate(time.Second))
	seconds := int64(off / time.Second)
	l.Stamp, l.ClockOff = &stamp, &seconds
	return off
}
