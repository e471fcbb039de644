package sessions

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// batchSize is how many grants share one call of the journal and of the gate at
// the most.
const batchSize = 8192

// recorder carries grants out, each after its entry is in the journal. While
// one call of the journal and the gate runs, the grants of all shards gather for
// the next: however many come, each is called about once in the time that a
// call takes.
type recorder struct {
	sources []*waiting // of the shards
	wake    chan struct{}
	marks   chan chan<- struct{} // each is closed when all before it is dealt with; nil: the end
	counts  [Outcomes]atomic.Uint64
	journal Journal
	gate    Gate
	log     *slog.Logger

	batch   []pending
	entries []Entry
	grants  []Grant
	ended   chan struct{}
}

func newRecorder(journal Journal, gate Gate, log *slog.Logger) *recorder {
	return &recorder{
		wake:    make(chan struct{}, 1),
		marks:   make(chan chan<- struct{}),
		journal: journal,
		gate:    gate,
		log:     log,
		batch:   make([]pending, 0, batchSize),
		entries: make([]Entry, 0, batchSize),
		grants:  make([]Grant, 0, batchSize),
		ended:   make(chan struct{}),
	}
}

// source returns where a shard puts its grants. It is called before run.
func (r *recorder) source() *waiting {
	w := newWaiting()
	r.sources = append(r.sources, w)
	return w
}

// notify has run look at the sources. It never blocks.
func (r *recorder) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// settle waits until all that was put into the sources before is dealt with.
func (r *recorder) settle(ctx context.Context) error {
	passed := make(chan struct{})
	select {
	case r.marks <- passed:
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-passed:
	case <-r.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// stop has run work off what was put before, and end.
func (r *recorder) stop() { r.marks <- nil }

func (r *recorder) run() {
	defer close(r.ended)
	for {
		select {
		case <-r.wake:
			r.pass()
		case passed := <-r.marks:
			r.pass()
			if passed == nil {
				return
			}
			close(passed)
		}
	}
}

// pass carries out what waits.
func (r *recorder) pass() {
	r.batch = r.batch[:0]
	for _, source := range r.sources {
		for list := source.take(); len(list) > 0; {
			n := min(len(list), cap(r.batch)-len(r.batch))
			r.batch = append(r.batch, list[:n]...)
			list = list[n:]
			if len(r.batch) == cap(r.batch) {
				r.handle(r.batch)
				r.batch = r.batch[:0]
			}
		}
	}
	if len(r.batch) > 0 {
		r.handle(r.batch)
	}
}

// handle deals with a batch.
func (r *recorder) handle(batch []pending) {
	r.entries, r.grants = r.entries[:0], r.grants[:0]
	for _, p := range batch {
		r.entries = append(r.entries, p.entry)
		r.grants = append(r.grants, p.grant)
	}
	if r.journal.Record(r.entries) != nil {
		r.counts[Unrecorded].Add(uint64(len(batch))) // why is the journal's to log
		return
	}
	r.open(r.grants)
}

// open hands recorded grants to the gate, all at a time.
func (r *recorder) open(grants []Grant) {
	r.counts[Opened].Add(uint64(len(grants)))
	for i, err := range r.gate.Open(grants) {
		if err != nil {
			r.counts[Failed].Add(1)
			r.log.Error("failed to open services for an authenticated sequence", "client", grants[i].Identifier, "address", grants[i].Address, "error", err)
		}
	}
}
