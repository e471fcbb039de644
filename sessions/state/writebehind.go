package state

import (
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	// flushPause is the time between two flushes: an entry of a relaxed store is
	// only in memory for so long.
	flushPause = 100 * time.Millisecond
	// retryPause is the time between two flushes while they fail.
	retryPause = time.Second
	// logPause is the minimum time between two error messages.
	logPause = time.Minute
)

// recordID identifies the record of a client's secret.
type recordID struct {
	client wire.Identifier
	secret verify.Fingerprint
}

type entryMap map[recordID]sessions.Entry

func (m entryMap) add(e sessions.Entry) {
	id := recordID{e.Identifier, e.Secret}
	if old, ok := m[id]; ok {
		e = merge(old, e)
	}
	m[id] = e
}

// writeBehind holds the entries that a relaxed store has not written yet, at most
// one for each secret, and the leases that have changed. For a strict store it is
// always empty.
type writeBehind struct {
	mu       sync.Mutex
	waiting  unwritten // for the next flush
	writing  unwritten // in the current flush
	failing  bool      // the last flush failed
	reserved uint32    // the header's reservedUntil: a waiting entry must not have a later stamp

	stopped chan struct{}
	done    sync.WaitGroup
}

type unwritten struct {
	entries entryMap
	leases  map[leaseID]struct{}
}

func newUnwritten() unwritten { return unwritten{entryMap{}, map[leaseID]struct{}{}} }

func (u unwritten) empty() bool { return len(u.entries)+len(u.leases) == 0 }

// start calls flush periodically until stop.
func (l *writeBehind) start(reserved uint32, flush func()) {
	l.waiting, l.reserved, l.stopped = newUnwritten(), reserved, make(chan struct{})
	l.done.Go(func() {
		pause := time.NewTimer(flushPause)
		defer pause.Stop()
		for {
			select {
			case <-pause.C:
				flush()
			case <-l.stopped:
				return
			}
			next := flushPause
			if l.isFailing() {
				next = retryPause
			}
			pause.Reset(next)
		}
	})
}

func (l *writeBehind) stop() {
	if l.stopped != nil {
		close(l.stopped)
		l.done.Wait()
		l.stopped = nil
	}
}

func (l *writeBehind) isFailing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing
}

// add stores entries and leases for the next flush. It returns false, and stores
// nothing, if the last flush failed, or a stamp is later than the reserved ones.
func (l *writeBehind) add(entries []sessions.Entry, leases []leaseID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing {
		return false
	}
	for _, e := range entries {
		if l.reserved == 0 || e.Stamp > l.reserved { // 0: no stamp is reserved, not even stamp 0
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

// beginFlush returns the waiting entries and leases for a flush. endFlush must
// follow.
func (l *writeBehind) beginFlush() (entries []sessions.Entry, leases []leaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.empty() {
		return nil, nil
	}
	l.writing, l.waiting = l.waiting, newUnwritten()
	entries = make([]sessions.Entry, 0, len(l.writing.entries))
	for _, e := range l.writing.entries {
		entries = append(entries, e)
	}
	for id := range l.writing.leases {
		leases = append(leases, id)
	}
	return entries, leases
}

func (l *writeBehind) endFlush(err error, reserved uint32) {
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

// raise raises the marks of secrets that have unwritten entries.
func (l *writeBehind) raise(clients []sessions.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.empty() && l.writing.empty() {
		return
	}
	for i := range clients {
		c := &clients[i]
		for _, secret := range []verify.Fingerprint{c.Current.Fingerprint, c.Previous.Fingerprint} {
			for _, of := range []entryMap{l.waiting.entries, l.writing.entries} {
				if e, ok := of[recordID{c.Identifier, secret}]; ok {
					raiseTo(c, e)
				}
			}
		}
	}
}

// errorLog limits the log messages about failed writes, also if writes fail and
// succeed in turn.
type errorLog struct {
	last    time.Time // of the last error message; zero: none
	logged  bool      // an error was logged, and not yet its end
	refused int       // grants since the last message
}

func (t *errorLog) report(log *slog.Logger, now time.Time, err error, grants int) {
	switch {
	case err != nil:
		t.refused += grants
		if t.last.IsZero() || now.Sub(t.last) >= logPause {
			log.Error("failed to record nonces; rejecting all grants", "error", err, "refused", t.refused)
			t.last, t.logged, t.refused = now, true, 0
		}
	case t.logged:
		log.Info("state file writable again", "refused", t.refused)
		t.logged, t.refused = false, 0
	}
}
