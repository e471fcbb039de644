package sessions

import (
	"context"
	"log/slog"
	"sync/atomic"
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
	journal  Journal
	// otherSources are attempts to name in the log.
	otherSources otherSources
	conns        connQueue
	gate         Gate
	close        func([]Closing) // nil: closing attempts have no effect
	log          *slog.Logger

	batch   []pendingGrant
	entries []Entry
	grants  []Grant
	closing []Closing
	done    chan struct{}
}

func newRecorder(journal Journal, gate Gate, close func([]Closing), log *slog.Logger) *recorder {
	return &recorder{
		wake:     make(chan struct{}, 1),
		barriers: make(chan chan<- struct{}),
		journal:  journal,
		gate:     gate,
		close:    close,
		log:      log,
		batch:    make([]pendingGrant, 0, batchSize),
		entries:  make([]Entry, 0, batchSize),
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
	r.entries, r.grants, r.closing = r.entries[:0], r.grants[:0], r.closing[:0]
	for _, p := range batch {
		r.entries = append(r.entries, p.entry)
		if p.closedFrom.IsValid() {
			r.closing = append(r.closing, Closing{p.grant.Identifier, p.closedFrom})
		}
		if !p.empty {
			r.grants = append(r.grants, p.grant)
		}
	}
	for _, c := range conns {
		r.entries = append(r.entries, c.entry)
	}
	err := r.journal.Record(r.entries) // which logs the error
	// A service closes also if the nonces are not on disk: after a crash, a replay of
	// these knocks is refused as one from before the start, and could open nothing.
	if len(r.closing) > 0 && r.close != nil {
		r.counts[Closed].Add(uint64(len(r.closing)))
		r.close(r.closing)
	}
	finish(conns, err)
	if err != nil {
		r.counts[Unrecorded].Add(uint64(len(r.grants)))
		return
	}
	if len(r.grants) > 0 {
		r.open(r.grants)
	}
}

// open passes recorded grants to the gate, all together.
func (r *recorder) open(grants []Grant) {
	r.counts[Opened].Add(uint64(len(grants)))
	for i, err := range r.gate.Open(grants) {
		if err != nil {
			r.counts[Failed].Add(1)
			r.log.Error("failed to open services for an authenticated sequence", "client", grants[i].Identifier, "address", grants[i].Address, "error", err)
		}
	}
}
