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
// one call of the journal runs, the grants of all shards gather for the next:
// however many come, the journal is called about once in the time that a call
// takes.
type recorder struct {
	queue   chan pending
	counts  [Outcomes]atomic.Uint64
	journal Journal
	gate    Gate
	log     *slog.Logger

	batch   []pending
	entries []Entry
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
	r.entries = r.entries[:0]
	for _, p := range batch {
		if p.grants() {
			r.entries = append(r.entries, p.entry)
		}
	}
	var err error
	if len(r.entries) > 0 {
		err = r.journal.Record(r.entries)
	}
	more = true
	for _, p := range batch {
		switch {
		case p.passed != nil:
			close(p.passed)
		case !p.grants():
			more = false
		case err != nil:
			r.counts[Unrecorded].Add(1) // why is the journal's to log
		default:
			r.open(p.grant)
		}
	}
	return more
}

func (r *recorder) open(g Grant) {
	r.counts[Opened].Add(1)
	if err := r.gate.Open(g); err != nil {
		r.counts[Failed].Add(1)
		r.log.Error("a correct sequence opened nothing", "client", g.Identifier, "address", g.Address, "error", err)
	}
}

func (p *pending) grants() bool { return p.grant.Address.IsValid() }
