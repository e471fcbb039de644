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
	if old, ok := m[e.Identifier]; !ok || e.HighestNonce > old.HighestNonce {
		m[e.Identifier] = e
	}
}

// late is what a relaxed store has not yet written: one entry a client at the
// most, and the leases that have changed. A strict store's is always empty.
type late struct {
	mu       sync.Mutex
	waiting  unwritten // for the next flush
	writing  unwritten // in the flush that runs
	failing  bool      // the last flush failed
	reserved uint32    // by the file: no entry that waits may have a later stamp

	ended chan struct{}
	done  sync.WaitGroup
}

type unwritten struct {
	entries entryOf
	leases  map[leaseID]struct{}
}

func nothing() unwritten { return unwritten{entryOf{}, map[leaseID]struct{}{}} }

func (u unwritten) empty() bool { return len(u.entries)+len(u.leases) == 0 }

// start calls flush from time to time until stop.
func (l *late) start(reserved uint32, flush func()) {
	l.waiting, l.reserved, l.ended = nothing(), reserved, make(chan struct{})
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

// take keeps entries and leases for the next flush, unless flushes fail, or the
// file does not yet say that nonces of such a stamp may be lost.
func (l *late) take(entries []sessions.Entry, leases []leaseID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing {
		return false
	}
	for _, e := range entries {
		if l.reserved == 0 || e.Stamp > l.reserved { // 0: nothing is reserved, stamp 0 neither
			return false
		}
	}
	for _, e := range entries {
		l.waiting.entries.add(e)
	}
	for _, id := range leases {
		l.waiting.leases[id] = struct{}{}
	}
	return true
}

// begin returns what waits, for a flush that ends with end.
func (l *late) begin() (entries []sessions.Entry, leases []leaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.empty() {
		return nil, nil
	}
	l.writing, l.waiting = l.waiting, nothing()
	entries = make([]sessions.Entry, 0, len(l.writing.entries))
	for _, e := range l.writing.entries {
		entries = append(entries, e)
	}
	for id := range l.writing.leases {
		leases = append(leases, id)
	}
	return entries, leases
}

func (l *late) end(err error, reserved uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing, l.reserved = err != nil, reserved
	if err != nil {
		for _, e := range l.writing.entries {
			l.waiting.entries.add(e)
		}
		for id := range l.writing.leases {
			l.waiting.leases[id] = struct{}{}
		}
	}
	l.writing = unwritten{}
}

// marks fills in the marks of clients that are not yet written.
func (l *late) marks(clients []sessions.Client, marks []mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range clients {
		for _, of := range []entryOf{l.waiting.entries, l.writing.entries} {
			if e, ok := of[clients[i].Identifier]; ok {
				marks[i].raise(e.HighestNonce)
			}
		}
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
			log.Error("failed to record nonces; rejecting all grants", "error", err, "refused", t.refused)
			t.last, t.told, t.refused = now, true, 0
		}
	case t.told:
		log.Info("state file writable again", "refused", t.refused)
		t.told, t.refused = false, 0
	}
}
