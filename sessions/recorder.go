package sessions

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// backlog is how many grants wait for the journal at the most, and how many
// share one call of it.
const backlog = 8192

// pending is a grant that waits for its entry to be recorded, or a mark in the
// queue: all before it are dealt with when passed is closed.
type pending struct {
	grant  Grant
	entry  Entry
	passed chan<- struct{}
}

// recorder carries grants out, each after its entry is in the journal. While
// one call of the journal and the gate runs, the grants of all shards gather for
// the next: however many come, each is called about once in the time that a
// call takes.
type recorder struct {
	queue   chan pending
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
		queue:   make(chan pending, backlog),
		journal: journal,
		gate:    gate,
		log:     log,
		batch:   make([]pending, 0, backlog),
		entries: make([]Entry, 0, backlog),
		grants:  make([]Grant, 0, backlog),
		ended:   make(chan struct{}),
	}
}

// submit never blocks: where the journal falls behind as far as that, the
// grant is dropped and counted.
func (r *recorder) submit(p pending) {
	select {
	case r.queue <- p:
	default:
		r.counts[Unrecorded].Add(1)
	}
}

// settle waits until all that was submitted before is dealt with.
func (r *recorder) settle(ctx context.Context) error {
	passed := make(chan struct{})
	select {
	case r.queue <- pending{passed: passed}:
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

// stop has run work off what was submitted before, and end.
func (r *recorder) stop() { r.queue <- pending{} }

func (r *recorder) run() {
	defer close(r.ended)
	for more := true; more; {
		r.batch = append(r.batch[:0], <-r.queue)
	gather:
		for len(r.batch) < cap(r.batch) {
			select {
			case p := <-r.queue:
				r.batch = append(r.batch, p)
			default:
				break gather
			}
		}
		more = r.handle(r.batch)
	}
}

// handle deals with a batch, and reports whether it holds no end.
func (r *recorder) handle(batch []pending) (more bool) {
	r.entries, r.grants = r.entries[:0], r.grants[:0]
	for _, p := range batch {
		if p.grants() {
			r.entries = append(r.entries, p.entry)
			r.grants = append(r.grants, p.grant)
		}
	}
	if len(r.grants) > 0 {
		if r.journal.Record(r.entries) == nil {
			r.open(r.grants)
		} else {
			r.counts[Unrecorded].Add(uint64(len(r.grants))) // why is the journal's to log
		}
	}
	more = true
	for _, p := range batch {
		switch {
		case p.passed != nil:
			close(p.passed)
		case !p.grants():
			more = false
		}
	}
	return more
}

// open hands recorded grants to the gate, all at a time.
func (r *recorder) open(grants []Grant) {
	r.counts[Opened].Add(uint64(len(grants)))
	for i, err := range r.gate.Open(grants) {
		if err != nil {
			r.counts[Failed].Add(1)
			r.log.Error("a correct sequence opened nothing", "client", grants[i].Identifier, "address", grants[i].Address, "error", err)
		}
	}
}

func (p *pending) grants() bool { return p.grant.Address.IsValid() }
