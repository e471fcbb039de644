package state

import (
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

const (
	// flushPause is how long an entry of a relaxed store is only in memory.
	flushPause = 100 * time.Millisecond
	// retryPause is the time between flushes while they fail.
	retryPause = time.Second
	// logPause is the time between two lines of the log about one trouble.
	logPause = time.Minute
)

type entryOf map[wire.Identifier]sessions.Entry

func (m entryOf) add(e sessions.Entry) {
	if old, ok := m[e.Identifier]; !ok || e.Mark > old.Mark {
		m[e.Identifier] = e
	}
}

// late is what a relaxed store has not yet written: one entry a client at the
// most. A strict store's is always empty.
type late struct {
	mu      sync.Mutex
	waiting entryOf // for the next flush
	writing entryOf // in the flush that runs
	failing bool    // the last flush failed

	ended chan struct{}
	done  sync.WaitGroup
}

// start calls flush from time to time until stop.
func (l *late) start(flush func()) {
	l.waiting, l.ended = entryOf{}, make(chan struct{})
	l.done.Go(func() {
		pause := time.NewTimer(flushPause)
		defer pause.Stop()
		for {
			select {
			case <-pause.C:
				flush()
			case <-l.ended:
				return
			}
			next := flushPause
			if l.fails() {
				next = retryPause
			}
			pause.Reset(next)
		}
	})
}

func (l *late) stop() {
	if l.ended != nil {
		close(l.ended)
		l.done.Wait()
		l.ended = nil
	}
}

func (l *late) fails() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing
}

// take keeps entries for the next flush, unless flushes fail.
func (l *late) take(entries []sessions.Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing {
		return false
	}
	for _, e := range entries {
		l.waiting.add(e)
	}
	return true
}

// begin returns what waits, for a flush that ends with end.
func (l *late) begin() []sessions.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	l.writing, l.waiting = l.waiting, entryOf{}
	batch := make([]sessions.Entry, 0, len(l.writing))
	for _, e := range l.writing {
		batch = append(batch, e)
	}
	return batch
}

func (l *late) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing = err != nil
	if err != nil {
		for _, e := range l.writing {
			l.waiting.add(e)
		}
	}
	l.writing = nil
}

// marks fills in the marks of clients that are not yet written; 0: none.
func (l *late) marks(clients []sessions.Client, marks []uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range clients {
		id := clients[i].Identifier
		marks[i] = max(l.waiting[id].Mark, l.writing[id].Mark)
	}
}

// trouble keeps the log short while the file cannot be written, or only now
// and then.
type trouble struct {
	last    time.Time // of the last line; zero: there is none
	told    bool      // it is not over, as far as the log knows
	refused int       // grants since the last line
}

func (t *trouble) report(log *slog.Logger, now time.Time, err error, grants int) {
	switch {
	case err != nil:
		t.refused += grants
		if t.last.IsZero() || now.Sub(t.last) >= logPause {
			log.Error("nothing opens: nonces cannot be recorded", "error", err, "refused", t.refused)
			t.last, t.told, t.refused = now, true, 0
		}
	case t.told:
		log.Info("the state file can be written again", "refused", t.refused)
		t.told, t.refused = false, 0
	}
}
