package sessions

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// batchSize is the maximum number of grants in one call of the journal and of
// the gate.
const batchSize = 8192

// recorder writes the entries of grants to the journal, and then calls the gate.
// While these calls run, the grants of all shards collect for the next calls. So
// each is called about once in the time that a call takes, however many grants
// there are.
type recorder struct {
	queues []*grantQueue // of the shards
	wake   chan struct{}
	// barriers: run closes each one when all grants queued before it have been
	// carried out; nil stops run.
	barriers chan chan<- struct{}
	counts   [NumOutcomes]atomic.Uint64
	latency  latency
	journal  Journal
	trace    *atomic.Pointer[Trace] // the one that runs, or nil
	// otherSources are attempts to name in the log.
	otherSources otherSources
	denials      denialList
	conns        connQueue
	gate         Gate
	test         tested
	now          func() time.Time // clock.Boot; nil: latency is not measured
	close        func([]Closing)  // nil: closing attempts have no effect
	log          *slog.Logger

	batch   []pendingGrant
	entries []Entry
	grants  []Grant
	taken   []int64 // of the pending grants of grants, except those of the test
	closing []Closing
	none    []error // as many as entries in one call
	done    chan struct{}
}

func newRecorder(journal Journal, gate Gate, close func([]Closing), log *slog.Logger) *recorder {
	return &recorder{
		wake:     make(chan struct{}, 1),
		barriers: make(chan chan<- struct{}),
		journal:  journal,
		trace:    new(atomic.Pointer[Trace]),
		gate:     gate,
		close:    close,
		log:      log,
		batch:    make([]pendingGrant, 0, batchSize),
		entries:  make([]Entry, 0, batchSize),
		none:     make([]error, 2*batchSize+maxPendingConns),
		grants:   make([]Grant, 0, batchSize),
		done:     make(chan struct{}),
	}
}

// newQueue returns the queue for a shard's grants. It must be called before run.
func (r *recorder) newQueue() *grantQueue {
	q := newGrantQueue()
	r.queues = append(r.queues, q)
	return q
}

// notify makes run read the queues. It never blocks.
func (r *recorder) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flush waits until all grants queued before the call have been carried out, or
// the recorder has stopped.
func (r *recorder) flush(ctx context.Context) error {
	passed := make(chan struct{})
	select {
	case r.barriers <- passed:
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-passed:
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// stop makes run carry out the queued grants, and return.
func (r *recorder) stop() { r.barriers <- nil }

func (r *recorder) run() {
	defer close(r.done)
	for {
		select {
		case <-r.wake:
			r.drain()
		case passed := <-r.barriers:
			r.drain()
			if passed == nil {
				return
			}
			close(passed)
		}
	}
}

// drain carries out all queued grants.
func (r *recorder) drain() {
	r.logOtherSources()
	r.logDenials()
	r.batch = r.batch[:0]
	conns := r.conns.take() // recorded with the first batch
	for _, queue := range r.queues {
		for list := queue.take(); len(list) > 0; {
			n := min(len(list), cap(r.batch)-len(r.batch))
			r.batch = append(r.batch, list[:n]...)
			list = list[n:]
			if len(r.batch) == cap(r.batch) {
				r.recordAndOpen(r.batch, conns)
				r.batch, conns = r.batch[:0], nil
			}
		}
	}
	if len(r.batch)+len(conns) > 0 {
		r.recordAndOpen(r.batch, conns)
	}
}

// recordAndOpen records a batch, together with connections, and then calls the gate:
// first for all that close. A client's grant that closes precedes those of the batch that
// open.
func (r *recorder) recordAndOpen(batch []pendingGrant, conns []pendingConn) {
	r.entries, r.grants, r.taken, r.closing = r.entries[:0], r.grants[:0], r.taken[:0], r.closing[:0]
	for _, p := range batch {
		r.entries = append(r.entries, p.entry)
	}
	for _, c := range conns {
		r.entries = append(r.entries, c.entry)
	}
	for _, p := range batch {
		if p.closesFirst() {
			r.entries = append(r.entries, p.closingEntry())
		}
	}
	errs := r.journal.Record(r.entries) // which logs the errors
	if errs == nil {
		errs = r.none[:len(r.entries)]
	}
	closings := errs[len(batch)+len(conns):]
	for i, p := range batch {
		var closing error
		if p.closesFirst() {
			closing, closings = closings[0], closings[1:]
		}
		r.decide(p, errs[i], closing)
	}
	if len(r.closing) > 0 && r.close != nil {
		r.counts[Closed].Add(uint64(len(r.closing)))
		r.close(r.closing)
	}
	finish(conns, errs[len(batch):len(batch)+len(conns)])
	if len(r.grants) > 0 {
		r.open(r.grants)
	}
}

// decide takes what a pending grant closes and opens, after the journal's answer. A
// service closes also if the nonces are not recorded: after a crash, a replay of these
// knocks is refused as one from before the start, and could open nothing. A closing
// attempt that was used elsewhere is a replay, and closes nothing. closing is the answer for
// one that has another entry.
func (r *recorder) decide(p pendingGrant, err, closing error) {
	used := errors.Is(err, ErrUsed)
	if used && (p.closedFrom.IsValid() || !p.empty) && !r.test.is(p.grant.Identifier, UsedElsewhere) {
		r.counts[UsedElsewhere].Add(1)
		r.logDenied(p.grant.Identifier, p.grant.Address, UsedElsewhere, 1)
		r.granted(p.grant, UsedElsewhere, nil)
	}
	replay := used && p.empty || errors.Is(closing, ErrUsed)
	if p.closedFrom.IsValid() && !replay {
		r.closing = append(r.closing, Closing{p.grant.Identifier, p.closedFrom, p.closedBy})
		r.granted(p.grant, Closed, nil)
	}
	switch {
	case p.empty || used:
	case err != nil:
		if !r.test.is(p.grant.Identifier, Unrecorded) {
			r.counts[Unrecorded].Add(1)
			r.logDenied(p.grant.Identifier, p.grant.Address, Unrecorded, 1)
		}
		r.granted(p.grant, Unrecorded, err)
	default:
		r.grants = append(r.grants, p.grant)
		if !r.test.has(p.grant.Identifier) {
			r.taken = append(r.taken, p.taken)
		}
	}
}

// open passes recorded grants to the gate, all together.
func (r *recorder) open(grants []Grant) {
	r.counts[Opened].Add(uint64(len(r.taken)))
	errs := r.gate.Open(grants)
	r.measure()
	if errs == nil {
		errs = r.none[:len(grants)]
	}
	for i, err := range errs {
		switch {
		case err == nil:
			r.granted(grants[i], Opened, nil)
			r.test.is(grants[i].Identifier, Opened)
		case r.test.is(grants[i].Identifier, Failed):
		default:
			r.granted(grants[i], Failed, err)
			r.counts[Failed].Add(1)
			r.log.Error("failed to open services for an authenticated sequence", "client", grants[i].Identifier, "address", grants[i].Address, "error", err)
		}
	}
}

// measure measures how long the grants of the batch took, also those that failed.
func (r *recorder) measure() {
	if r.now == nil {
		return
	}
	now := r.now().UnixNano()
	for _, taken := range r.taken {
		r.latency.add(time.Duration(now - taken))
	}
}
