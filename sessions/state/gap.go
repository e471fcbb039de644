package state

import (
	"time"

	"sallyport/sessions"
	"sallyport/verify/schedule"
)

// Gap describes the used nonces that may have no record at a start, in addition to
// the nonces of knocks that were sent before the start while no server ran.
// PROTOCOL.md of verify/wire has the rule.
type Gap struct {
	// Fresh: Create made the file, and no server has used it. No client has ever
	// knocked, so the start refuses no knock.
	Fresh bool
	// NotBeforeMargin: nonces may be used without a record if they are stamped up
	// to the start plus this margin. 0: there are none after the start.
	NotBeforeMargin time.Duration
	// LostUntil: nonces may be used without a record if they are stamped up to
	// this time. It is the time of a client's clock, not of this host's. Zero:
	// there are none.
	LostUntil time.Time
}

// headerAfterLoss is the header of a new file after the loss of the old one. The
// used nonces, and the tolerance with which they were accepted, are unknown.
var headerAfterLoss = header{served: true, margin: uint32(schedule.MaxTolerance / time.Second)}

func gapOf(h header) (g Gap) {
	g.Fresh = !h.served
	g.NotBeforeMargin = time.Duration(h.margin) * time.Second
	if h.lostUntil > 0 {
		g.LostUntil = time.Unix(int64(h.lostUntil), 0)
	}
	return g
}

// atStart returns the header that the next start uses: if a relaxed store has
// crashed, entries with reserved stamps may be lost.
func (h header) atStart() header {
	if h.open {
		h.lostUntil, h.open = max(h.lostUntil, h.reservedUntil), false
	}
	return h
}

// Gap returns the gap of this start.
func (s *Store) Gap() Gap { return s.gap }

// NewestStamp returns the latest stamp of all entries. The clock of this host has
// shown about that time when the knock arrived; if it shows a much earlier time
// now, it has been set back since. Zero: there is no entry.
func (s *Store) NewestStamp() time.Time {
	if n := s.newest.Load(); n > 0 {
		return time.Unix(int64(n), 0)
	}
	return time.Time{}
}

func (s *Store) noteStamp(e sessions.Entry) {
	for {
		n := s.newest.Load()
		if e.Stamp <= n || s.newest.CompareAndSwap(n, e.Stamp) {
			return
		}
	}
}

// ClearMargin removes the margin from the file once it is over. The server calls it
// periodically.
func (s *Store) ClearMargin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header.margin == 0 || !s.marginIsOver() {
		return nil
	}
	return s.change(func(*header) {}) // update does it
}

// marginIsOver reports whether the store has been open for as long as the margin of
// its header: every later start refuses the knocks of that time anyway.
func (s *Store) marginIsOver() bool {
	return s.boot().Sub(s.opened) >= time.Duration(s.header.margin)*time.Second
}
